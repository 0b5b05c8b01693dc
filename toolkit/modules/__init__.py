"""LightningModules: fine-tuning and, one each, the compression methods."""
