"""Words of the synthetic tasks: lists of entries, an entry's inflected or related forms joined by ``~``.

Lists are written as text, entries separated by blanks, ``_`` for a blank inside an entry.
"""

import re


def entries(text: str) -> tuple[str, ...]:
    """Split a list of words.

    Args:
        text: Entries separated by blanks; ``_`` stands for a blank inside an entry.

    Returns:
        The entries in order.

    Example:
        >>> entries("last_week today")
        ('last week', 'today')
    """
    return tuple(entry.replace("_", " ") for entry in text.split())


def nouns(text: str) -> tuple[str, ...]:
    """Add regular plurals.

    Args:
        text: Singulars as in :func:`entries`; an entry that has forms already is kept.

    Returns:
        Entries ``singular~plural``.

    Example:
        >>> nouns("box city man~men")
        ('box~boxes', 'city~cities', 'man~men')
    """
    return tuple(entry if "~" in entry else f"{entry}~{_with_s(entry)}" for entry in entries(text))


def verbs(text: str) -> tuple[str, ...]:
    """Add regular forms.

    Args:
        text: Base forms as in :func:`entries`; an entry that has forms already is kept.

    Returns:
        Entries ``base~third person~past~participle~-ing``.

    Example:
        >>> verbs("hire carry see~sees~saw~seen~seeing")
        ('hire~hires~hired~hired~hiring', 'carry~carries~carried~carried~carrying', 'see~sees~saw~seen~seeing')
    """
    return tuple(entry if "~" in entry else _conjugate(entry) for entry in entries(text))


def _with_s(word: str) -> str:
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + ("es" if re.search(r"(s|x|ch|sh)$", word) else "s")


def _conjugate(base: str) -> str:
    past = base[:-1] + "ied" if re.search(r"[^aeiou]y$", base) else base.removesuffix("e") + "ed"
    gerund = (base if base.endswith("ee") else base.removesuffix("e")) + "ing"
    return "~".join((base, _with_s(base), past, past, gerund))


def _kinds(taxonomy: str) -> tuple[str, ...]:
    found = []
    for line in taxonomy.split(";"):
        category, *members = entries(line)
        found += [f"{one}~{category}~{other}" for one in members for other in members if one != other]
    return tuple(found)


WORDS: dict[str, tuple[str, ...]] = {
    "woman": entries(
        "Mary Anna Sarah Linda Julia Emma Nora Alice Laura Susan Helen Diana Maria Olivia Lucy Karen Ellen Clara "
        "Teresa Monica Rachel Sophie Irene Paula Nancy Vera Marta Naomi Carol Judith Amelia Esther Agnes Leila"
    ),
    "man": entries(
        "John Peter David Paul Thomas James Robert Simon Daniel Henry Oscar Martin Victor Adam Samuel George Philip "
        "Arthur Edward Walter Hugo Felix Leon Ivan Carlos Ahmed Dennis Gerald Marcus Stephen Kevin Brian Omar Luke"
    ),
    "role": nouns(
        "teacher lawyer nurse senator waiter farmer doctor pilot soldier singer baker banker painter lecturer student "
        "neighbor tourist plumber librarian dentist driver tailor detective gardener engineer manager captain guard "
        "journalist editor scientist mechanic photographer dancer actor judge clerk cousin guest customer sailor coach "
        "carpenter violinist historian professor butcher barber secretary mayor"
    ),
    # somebody does this to somebody
    "meet": verbs(
        "thank praise follow help visit blame interview call warn invite hire ignore recognize trust greet admire "
        "contact defend accuse watch remember mention support question criticize insult trick betray reward punish "
        "consult rescue push kick tease chase mock surprise annoy encourage replace impress "
        "see~sees~saw~seen~seeing find~finds~found~found~finding"
    ),
    # somebody does this to something
    "handle": verbs(
        "repair clean paint borrow carry move inspect return admire describe order pack wash deliver collect damage "
        "examine open photograph buy~buys~bought~bought~buying sell~sells~sold~sold~selling "
        "hide~hides~hid~hidden~hiding steal~steals~stole~stolen~stealing find~finds~found~found~finding "
        "lose~loses~lost~lost~losing choose~chooses~chose~chosen~choosing break~breaks~broke~broken~breaking "
        "forget~forgets~forgot~forgotten~forgetting take~takes~took~taken~taking see~sees~saw~seen~seeing"
    ),
    "sleep": verbs(
        "laugh smile arrive cough faint vanish sneeze yawn hesitate retire disappear listen "
        "sleep~sleeps~slept~slept~sleeping fall~falls~fell~fallen~falling weep~weeps~wept~wept~weeping"
    ),
    "thing": nouns(
        "chair table lamp camera violin guitar bottle basket ladder hammer letter parcel ticket suitcase umbrella "
        "bicycle truck wagon boat clock mirror blanket carpet jacket coat hat scarf necklace painting statue piano "
        "notebook map kettle vase box phone wallet radio tent helmet shovel window door candle cabinet drawer"
    ),
    # words of several parts of speech
    "verbnoun": verbs(
        "watch light~lights~lit~lit~lighting book play plan~plans~planned~planned~planning report visit cook water "
        "fish dance park ring~rings~rang~rung~ringing ship~ships~shipped~shipped~shipping hammer answer question study "
        "dream drink~drinks~drank~drunk~drinking cut~cuts~cut~cut~cutting break~breaks~broke~broken~breaking "
        "run~runs~ran~run~running walk paint plant train guard judge cover point label match sign store order cause "
        "show~shows~showed~shown~showing drive~drives~drove~driven~driving fly~flies~flew~flown~flying hope love "
        "trade race trick turn brush comb~combs~combed~combed~combing nail stamp tax record offer present "
        "head face hand back milk smoke sail test film mail bridge house box bear~bears~bore~borne~bearing"
    ),
    "verbagent": verbs(
        "guard judge cook guide nurse host witness coach tutor pilot doctor captain butcher scout boss usher"
    ),
    "adjagent": nouns("native patient criminal rival captive individual professional human original"),
    "adjnoun": entries(
        "light cold human original plastic native professional square past present future patient chemical individual "
        "blue green orange secret novel complex fat potential average key fine kind right left wrong criminal rival "
        "musical front silver gold relative captive"
    ),
    "adjverb": verbs(
        "clean dry open warm cool slow empty clear calm free~frees~freed~freed~freeing smooth narrow faint tame quiet "
        "lower"
    ),
    "adjadv": entries("fast hard late early straight far long daily weekly well right first high low deep outright"),
    "place": entries(
        "in_the_park at_the_station near_the_bridge in_the_kitchen behind_the_church at_the_market in_the_library "
        "outside_the_museum at_the_airport in_the_garage on_the_ferry at_the_hotel in_the_village near_the_harbor "
        "in_the_garden at_the_office in_the_theater on_the_train at_the_gym in_the_basement beside_the_river "
        "in_the_courtyard at_the_stadium in_the_hallway on_the_beach"
    ),
    "time": entries(
        "on_Monday on_Tuesday on_Wednesday on_Friday on_Sunday last_week last_month last_winter this_morning "
        "yesterday two_days_ago at_noon before_dawn after_lunch during_the_holidays in_April in_October at_midnight "
        "a_year_ago last_night on_Saturday_evening before_the_meeting after_the_concert"
    ),
    "manner": entries(
        "quietly slowly carefully quickly politely proudly angrily secretly nervously gladly openly patiently "
        "reluctantly cheerfully calmly eagerly"
    ),
    "adjective": entries(
        "old young tall quiet clever tired famous polite nervous rich friendly lonely cheerful stubborn careful proud "
        "curious angry anxious busy"
    ),
    "color": entries("red blue green yellow black white brown grey purple orange"),
    "looks": entries("old new heavy small broken expensive dusty wooden cheap large round shiny plain wet narrow"),
    # comparative ~ its converse
    "taller": entries(
        "taller~shorter older~younger richer~poorer faster~slower stronger~weaker heavier~lighter louder~quieter "
        "happier~sadder kinder~crueler"
    ),
    # somebody ~ a synonym ~ somebody else
    "somebody": entries(
        "doctor~physician~plumber lawyer~attorney~gardener author~writer~singer boss~manager~guard "
        "cop~police_officer~sailor actor~performer~judge child~kid~widow shopkeeper~store_owner~tourist "
        "scientist~researcher~barber journalist~reporter~dancer cook~chef~pilot businessman~entrepreneur~monk "
        "instructor~teacher~farmer buyer~purchaser~builder pupil~student~banker thief~burglar~priest "
        "fisherman~angler~nurse attendant~steward~painter housekeeper~maid~soldier tailor~dressmaker~captain"
    ),
    # something ~ a synonym ~ something of the kind
    "something": entries(
        "car~automobile~tractor sofa~couch~wardrobe bike~bicycle~scooter phone~telephone~radio rug~carpet~curtain "
        "photo~photograph~drawing present~gift~bill boat~vessel~raft cup~mug~plate rock~stone~shell "
        "jewel~gem~watch purse~handbag~belt suitcase~piece_of_luggage~tent sweater~pullover~glove "
        "notebook~writing_pad~pencil cash_machine~ATM~printer television~TV~stove plane~aircraft~balloon "
        "sculpture~statue~fountain pistol~handgun~sword"
    ),
    # past ~ participle ~ past of a synonym ~ its participle ~ past of the opposite or of another deed
    "deed": entries(
        "bought~bought~purchased~purchased~sold repaired~repaired~fixed~fixed~smashed found~found~discovered~"
        "discovered~misplaced hid~hidden~concealed~concealed~displayed chose~chosen~selected~selected~rejected "
        "examined~examined~inspected~inspected~ignored destroyed~destroyed~wrecked~wrecked~restored "
        "cleaned~cleaned~washed~washed~stained got~gotten~received~received~lost "
        "photographed~photographed~took_a_picture_of~photographed~described "
        "left_behind~left_behind~abandoned~abandoned~collected picked_up~picked_up~lifted~lifted~dropped "
        "gave_away~given_away~donated~donated~requested noticed~noticed~spotted~spotted~overlooked "
        "liked~liked~was_fond_of~liked~hated"
    ),
    "kind": _kinds(
        """animal dog horse goat rabbit camel donkey; bird swan parrot duck goose owl; fruit melon peach pear plum;
        vehicle truck bus taxi van tractor; tool hammer saw drill shovel axe; drink juice coffee tea beer;
        instrument violin flute trumpet harp cello; garment jacket skirt shirt coat sweater;
        tree willow maple pine birch cedar; boat ferry canoe kayak yacht; flower tulip rose daisy lily orchid;
        building hospital church palace school castle"""
    ),
}
