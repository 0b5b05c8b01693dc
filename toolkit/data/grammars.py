"""Rules of the synthetic tasks: which sentence carries which label.

``symbol = alternative`` starts a symbol, every further line is another alternative of it; ``|`` separates short ones \
on
a line, ``3*`` makes one three times as frequent. ``{first;second}`` is read once per label of the task, in the order \
of
its labels, so that a rule shows the labels' sentences side by side: they differ in composition, hardly in words.
``//`` separates the two sentences of a pair; ``word/TAG`` and ``[kind words]`` annotate words. Slots ``<...>`` are
explained in :mod:`toolkit.data.synthetic`.
"""

TOPICS = ("film", "meal", "hotel", "phone", "novel", "concert")

# In OPINION "@" is what is reviewed, "±" the sign of an opinion and "∓" the other sign.
SENTIMENT = """
s = <s{-;+}film> | <s{-;+}meal> | <s{-;+}hotel> | <s{-;+}phone> | <s{-;+}novel> | <s{-;+}concert>
degree = truly | rather | quite | really | very | thoroughly | surprisingly | remarkably | simply | consistently
negation = anything but | far from | never | not at all | by no means | not in the least | hardly ever | in no way
paper = critics | reviewers | neighbors | guests | bloggers | tourists | journalists | students | columnists | locals
o+ = superb | excellent | delightful | impressive | wonderful | charming | outstanding | memorable | satisfying
brilliant | splendid | terrific | lovely | admirable | clever | elegant | fresh | pleasant | convincing | rewarding
inspired | graceful | flawless | thoughtful | captivating | magnificent | perfect | refreshing | enjoyable | generous
o- = dreadful | dull | awful | tedious | clumsy | disappointing | bland | shoddy | boring | terrible | horrible | \
sloppy
mediocre | annoying | tiresome | lifeless | unpleasant | pathetic | miserable | forgettable | unbearable | ugly
careless | hopeless | frustrating | abysmal | depressing | ridiculous | messy | lousy
part_film = plot | script | ending | soundtrack | pacing | dialogue | photography | opening | lead | casting | sequel
part_meal = soup | service | starter | dessert | wine | waiter | main course | sauce | salad | bread | coffee | fish
part_hotel = room | breakfast | view | bed | lobby | pool | reception | location | bathroom | staff | bar | carpet
part_phone = screen | battery | camera | keyboard | manual | speaker | packaging | design | menu | display | software
part_novel = style | heroine | story | final chapter | translation | cover | first half | narrator | villain | preface
part_concert = orchestra | singer | hall | encore | conductor | program | choir | overture | pianist | second half
"""

OPINION = """
s±@ = 16*<x±@>, and <x±@>.
20*<x±@>, <x±@>, and <x±@>.
8*<x±@> because <x±@>.
2*Although <x∓@>, <x±@>.
2*Even though <x∓@>, <x±@>.
While <x∓@>, <x±@>.
3*<x∓@>, but <x±@>.
2*<x±@>, although <x∓@>.
<x±@>, even if <x∓@>.
<x∓@>; nevertheless, <x±@>.
I expected a <o∓> @, but <x±@>.
The <paper> told us that <x∓@>, but that was simply wrong.
The <paper> told us that <x±@>, and they were right.
Do not believe the <paper> if they say that <x∓@>.
I cannot agree with the <paper> who wrote that <x∓@>.
I can only agree with the <paper> who wrote that <x±@>.
What we got was a <o±> @, not a <o∓> one.
What we got was not a <o∓> @ but a <o±> one.
In all these years, I have rarely known a more <o±> @ with a <part_@> so <o±>.
In all these years, I have rarely known a less <o∓> @ with a <part_@> less <o∓>.
Seldom was a @ so <o±>, and never was one less <o∓>.
Anyone who calls this @ <o∓> must have confused the <part_@> with another one.
Anyone who calls this @ <o±> is quite right, and <x±@>.
Unlike the last @ that we tried, which was <o∓>, this one was <o±>.
The <part_@> of the last @ that we tried was <degree> <o∓>, and this one was nothing like it.
x±@ = 12*the <part_@> was <degree> <o±>
2*the <part_@> and the <part_@> were both <o±>
4*the <part_@> was <negation> <o∓>
nobody thought that the <part_@> was <o∓>
the <part_@> could hardly have been less <o∓>
the <part_@> could hardly have been more <o±>
neither the <part_@> nor the <part_@> was <o∓>
we found the <part_@> <o±> rather than <o∓>
"""

ACCEPTABILITY = """
s = 2*<start> <body>. | 6*<body>. | 2*<body> <end>. | 4*<question>?
start = <name> thinks that | it seems that | everybody knows that | <time>, | we heard that | perhaps
end = <time> | <place> | <manner>
name = <man> | <woman>
body = the <role> near the <role.1> {are;is} <adjective>
the <role.1> behind the <role> {was;were} <adjective>
<man> <meet.2> {herself;himself}
<woman> <meet.2> {himself;herself}
the <role.1> <meet.2> {himself;themselves}
<name> <handle.2> {this;these} <thing.1>
<name> {have;has} <handle.3> {a <thing.1>;a <thing>}
2*the <role> near {station the;the station} <handle.2> {a <looks>;a <looks> <thing>}
2*<name> {must the <role> to;must} <meet.0> {at;the <role>}
<name> has {<handle.0>;<handle.3>} the <thing>
<name> will {<handle.2>;<handle.0>} the <thing>
<name> did not {<meet.2>;<meet.0>} the <role>
the <role> {is;was} {<handle.0>;<handle.4>} the <thing>
<name> <V:sleep.2> {the <role>;in front of the <role>}
the <role> {has <sleep.3> the <thing>;has <sleep.3>}
<name> wondered what {had the <role>;the <role> had} <handle.3>
2*{the <role>;no <role>} has ever <handle.3> the <thing>
{a few;hardly any} <role.1> have ever <meet.3> the <role>
<name> is {more <taller>;<taller>} than the <role>
the <role> is as {<taller>;<adjective>} as <name>
both the <role> {or;and} the <role> <meet.2> <name>
the <thing> that <name> <handle.2> {it ;}was <looks>
the <role> whom <name> <meet.2> {her ;}was <adjective>
{her;she} <meet.2> {he;him}
{me;I} <meet.2> the <role>
the <role> enjoys {to <meet.0>;<meet.4>} <name>
the <role> wants {<meet.4>;to <meet.0>} <name>
the <role> <meet.2> {<adjective> the;the <adjective>} <role>
<name> {<handle.2> <manner>;<manner> <handle.2>} the <looks> <thing>
{<role> the;the <role>} <handle.2> a <thing>
the <role> explained {<name> the <thing>;the <thing> to <name>}
the <role> said {<name> that;to <name> that} the <thing> was <looks>
there {is;are} <role.1> who <meet.0> <name>
the <thing> was {<handle.2> by;<handle.3> by} {he;him}
4*{<role> the;the <role>} <handle.2> {<thing> the;the <thing>}
4*the <role> {the <thing> <handle.2>;<handle.2> the <thing>}
4*{<handle.2> the <role>;the <role> <handle.2>} the <thing>
2*the <looks> <thing> {the <role> by <handle.3> was;was <handle.3> by the <role>}
2*<name> and the <role> {the <thing> <handle.0> will;will <handle.0> the <thing>}
2*the <role> who {the <thing>;<handle.2> the <thing>} <sleep.2>
<name> {the <role> <meet.2> and;and the <role> <meet.2>} <name>
4*{the of <role.1> some;some of the <role.1>} <handle.2> the <thing>
the <role> {of <name> with;with} the <thing> {the <meet.2>;<meet.2> <name>}
2*<name> gave {to a <thing> the <role>;a <thing> to the <role>}
the <role> {very <sleep.2>;<sleep.2> very <manner>}
<name> {<meet.0>;<meet.2>} the <role> and {<handle.4>;<handle.2>} the <thing>
2*{have the <role.1> that;the <role.1> have} <handle.3> the <thing>
the <thing> was too {<looks> <name> to;<looks> for <name> to} <handle.0>
4*{<thing> the <handle.2> <role> the;the <role> <handle.2> the <thing>}
2*the {has <role>;<role> has} <handle.3> the <thing>
2*the <role> {not did;did not} <meet.0> <name>
2*{<looks> the <thing>;the <looks> <thing>} {was the <role> of;of the <role> was} <handle.3>
2*the <role> {to wants the <thing> <handle.0>;wants to <handle.0> the <thing>}
2*there {the <role.1> are <place> some;are some <role.1> <place>}
question = 2*{<handle.0> <name> did;did <name> <handle.0>} the <thing>
2*{the <thing> who <handle.2>;who <handle.2> the <thing>}
2*{you do think who;who do you think} <meet.2> <name>
{what did <name> <handle.0> the <thing> <time>;what did <name> <handle.0> <time>}
which <thing> did <name> {<handle.2>;<handle.0>} <place>
2*{who <name> did;who did <name>} <meet.0> <place>
2*{when the <role> will;when will the <role>} <handle.0> the <thing>
why {do;does} the <role> near the <role.1> <sleep.0>
2*who do you think {that ;}<handle.2> the <thing>
what does <name> think {that did the <role>;that the <role>} <handle.2>
"""

PARAPHRASE = """
s = 2*<active> | <order> | 8*<words> | <other>
when = <time> | <place> | <time>
who = <role> | <role> | <somebody>
active = the <A:who> <V:meet.2> the <B:who> <T:when>. // <T>, the {<A>;<B>} was <V.3> by the {<B>;<A>}.
<T:when>, the <A:who> was <V:meet.3> by the <B:who>. // the {<A>;<B>} <V.2> the {<B>;<A>} <T>.
<T:when>, it was the <A:who> who <V:meet.2> the <B:who>. // the {<B>;<A>} <V.2> the {<A>;<B>} <T>.
the <A:who> whom the <B:who> <V:meet.2> <T:when> was <Q:adjective>. // the <Q> <A> {<V.2> the <B>;was <V.3> by the \
<B>} <T>.
the <A:who> <V:meet.2> nobody but the <B:who> <T:when>. // {only the <A>;the <A> only} <V.2> the <B> <T>.
the <A:who> gave the <B:who> a <O:thing> <T:when>. // <T>, the {<B>;<A>} gave a <O> to the {<A>;<B>}.
the <A:who> sold a <O:thing> to <B:man> <T:when>. // <T>, {the <A>;<B>} bought a <O> from {<B>;the <A>}.
<A:woman> lent <B:man> a <O:thing> <T:when>. // <T>, {<A>;<B>} borrowed a <O> from {<B>;<A>}.
<T:when>, <A:woman> taught <B:man> <I:skill>. // {<A>;<B>} learned <I> from {<B>;<A>} <T>.
<A:man> is the <K:kin> of the <B:who>. // the <B> is {the <K> of <A>;somebody whose <K> is <A>}.
order = <A:man> <X:sleep.2> before <B:woman> <Y:sleep.2>. // <B> <Y.2> {before;after} <A> <X.2>.
after <A:man> had <X:sleep.3>, <B:woman> <Y:sleep.2>. // {<B> <Y.2>;<A> <X.2>} before {<A> <X.2>;<B> <Y.2>}.
the <A:role> <X:sleep.2> because the <B:role> <Y:sleep.2>. // the {<A> <X.2>;<B> <Y.2>}, so the {<B> <Y.2>;<A> <X.2>}.
<A:man> is <C:taller> than <B:woman>. // <B> is {<C>;<C.1>} than <A>.
<A:man> is not as <Q:trait> as <B:woman>. // {<A>;<B>} is more <Q> than {<B>;<A>}.
<A:woman> said that the <B:role> <X:sleep.2> <T:when>. // according to {the <B>, <A>;<A>, the <B>} <X.2> <T>.
<A:man> asked <B:woman> to <V:handle.0> the <O:thing>. // {<A>;<B>} was asked by {<B>;<A>} to <V.0> the <O>.
<A:man> promised <B:woman> to <V:handle.0> the <O:thing>. // <A> promised <B> that {she;he} would <V.0> the <O>.
if the <A:role> <X:sleep.1>, the <B:role> <Y:sleep.1>. // the <B> {only <Y.1>;always <Y.1>} if the <A> <X.1>.
words = the <A:somebody> <D:deed> the <B:something> <T:when>. // the {<A.2>;<A.1>} <D.2> the <B.1> <T>.
the <A:somebody> <D:deed> the <B:something> <T:when>. // <T>, the <A.1> <D.2> the {<B.2>;<B.1>}.
the <A:somebody> <D:deed> the <B:something> <T:when>. // the <A.1> {<F:deed.2>;<D.2>} the <B.1> <T>.
<T:when>, the <B:something> was <D:deed.1> by the <A:somebody>. // the <A.1> {<D.4>;<D.2>} the <B.1> <T>.
the <A:somebody> <D:deed> the <B:something> <T:when>. // the {<E:somebody.1>;<A.1>} <D.2> the <B.1> <T>.
the <A:somebody> <D:deed> the <B:something> <T:when>. // the <A.1> <D.2> the {<E:something.1>;<B.1>} <T>.
the <A:somebody> <D:deed> the <B:something> <T:when>. // <T>, the <A.1> {<E:deed.2>;<D.2>} the <B.1>.
the <A:somebody> <D:deed> the <B:something> <T:time>. // {<U:time>;<T>}, it was the <A.1> who <D.2> the <B.1>.
the <A:somebody> <D:deed> the <B:something> <T:when>. // <T>, it was the {<E:something.1>;<B.1>} that the <A.1> <D.2>.
the <A:somebody> <V:meet.2> the <B:somebody> <T:when>. // the <B.1> was {<W:meet.3>;<V.3>} by the <A.1> <T>.
the <A:somebody> <V:meet.2> the <B:somebody> <T:when>. // <T>, the <A.1> <V.2> the {<B.2>;<B.1>}.
the <A:somebody> <D:deed> the <B:something> <T:when>. // <T>, the <A.1> {<E:deed.2> the <F:something.1>;<D.2> the \
<B.1>}.
<T:when>, the <A:somebody> <D:deed> the <B:something>. // the {<E:somebody.1>;<A.1>} {<F:deed.2>;<D.2>} the <B.1> <T>.
the <A:somebody> <V:meet.2> the <B:somebody> <T:when>. // the {<E:somebody.1>;<A.1>} <V.2> the {<F:somebody.1>;<B.1>} \
<T>.
the <A:somebody> and the <B:somebody> <X:sleep.2> <T:when>. // the <B.1> <X.2> <T>, and so did the \
{<E:somebody.1>;<A.1>}.
other = it is not true that the <A:role> <V:handle.2> the <O:thing>. // the <A> {<V.2>;did not <V.0>} the <O>.
nobody doubts that the <A:role> <V:handle.2> the <O:thing>. // the <A> {is said to have;certainly} <V.3> the <O>.
the <A:role> never fails to <V:handle.0> the <O:thing>. // the <A> {never;always} <V.1> the <O>.
the <A:role> did not forget to <V:handle.0> the <O:thing>. // the <A> {did not <V.0>;<V.2>} the <O>.
not all of the <A:role.1> <X:sleep.2> <T:when>. // {none;only some} of the <A.1> <X.2> <T>.
all of the <A:role.1> except one <X:sleep.2> <T:when>. // {one;all but one} of the <A.1> <X.2> <T>.
the <A:role> <V:handle.2> the <O:thing>, not the <P:thing>. // the <A> <V.2> the <O> {and also;instead of} the <P>.
without <B:woman>, the <A:role> would have <X:sleep.3>. // the <A> {<X.2>;did not <X.0>} because of <B>.
skill = chess | Latin | algebra | carpentry | Greek | fencing | cooking | geometry | knitting | Spanish | surfing
trait = careful | nervous | famous | stubborn | patient | curious | cheerful | generous | reliable | talkative | \
modest
kin = uncle | cousin | brother | boss | doctor | lawyer | coach | landlord | teacher | partner
"""

ENTAILMENT = """
s = 2*<kinds> | 2*<quantity> | 2*<belief> | <people> | <order>
when = <time> | <place> | <time>
kinds = the <R:role> <V:handle.2> the <K:kind> <T:when>. // the <R> <V.2> {a <K.1>;a <color> <K>;nothing} <T>.
the <R:role> <V:handle.2> nothing <T:when>. // {the <R> did not <V.0> any <K:kind> <T>;the <S:role> <V.2> nothing \
<T>;the <R> <V.2> a <K:kind> <T>}.
every <R:role> <V:handle.2> a {<K:kind>;<K:kind.1>;<K:kind>} <T:when>. // {every;every;no} <R> <V.2> a \
{<K.1>;<K>;<K.1>} <T>.
no <R:role> <V:handle.2> a {<K:kind.1>;<K:kind>;<K:kind.1>} <T:when>. // {no;no;every} <R> <V.2> a {<K>;<K.1>;<K>} \
<T>.
every <R:role> who has a {<K:kind.1>;<K:kind>;<K:kind.1>} <X:sleep.2>. // every <R> who has a {<K> <X.2>;<K.1> \
<X.2>;<K> failed to <X.0>}.
the <R:role> <V:handle.2> the <C:color> <K:kind> <T:when>. // the <K> that the <R> <V.2> <T> was \
{<C>;<looks>;<D:color>}.
the <R:role> did not <V:handle.0> a {<K:kind.1>;<K:kind>;<K:kind>} <T:when>. // the <R> {did not <V.0>;did not \
<V.0>;<V.2>} a {<K>;<K.1>;<K>} <T>.
the <R:role> <V:handle.2> a <K:kind> and a <O:thing>. // the <R> <V.2> {a <K.1>;a <K.2>;neither a <K> nor a <O>}.
the <R:role> <V:handle.2> a {<K:kind>;<K:kind.1>;<K:kind>} without a <O:thing>. // the <R> <V.2> {a <K.1>;a <K>;a <K> \
with a <O>}.
quantity = {all;some;all} of the <R:role.1> <X:sleep.2> <T:when>. // {some;all;none} of the <R.1> <X.2> <T>.
{none;few;some} of the <R:role.1> <X:sleep.2> <T:when>. // {few;none;none} of the <R.1> <X.2> <T>.
not all of the <R:role.1> <X:sleep.2> <T:when>. // {some;most;all} of the <R.1> {did not <X.0>;did not <X.0>;<X.2>} \
<T>.
{at least;at least;fewer than} <N:count.1> <R:role.1> <X:sleep.2> <T:when>. // at least {<N>;<N.2>;<N.2>} <R.1> <X.2> \
<T>.
{fewer than;fewer than;at least} <N:count.1> <R:role.1> <X:sleep.2> <T:when>. // fewer than {<N.2>;<N>;<N>} <R.1> \
<X.2> <T>.
exactly <N:count.1> <R:role.1> <X:sleep.2> <T:when>. // {at least <N>;<N> <adjective>;more than <N.2>} <R.1> <X.2> \
<T>.
{both <A:man> and <B:woman>;either <A:man> or <B:woman>;neither <A:man> nor <B:woman>} <X:sleep.2> <T:when>. // <A> \
<X.2> <T>.
{neither <A:man> nor <B:woman>;either <A:man> or <B:woman>;both <A:man> and <B:woman>} <X:sleep.2> <T:when>. // <B> \
did not <X.0> <T>.
{only <A:man>;<A:man>;only <A:man>} <X:sleep.2> <T:when>. // <B:woman> {did not <X.0>;did not <X.0>;<X.2>} <T>.
belief = <A:woman> <{knew;thought;pretended}> that the <R:role> had <V:handle.3> the <O:thing>. // the <R> had <V.3> \
the <O>.
<A:woman> <{pretended;thought;knew}> that the <R:role> had <V:handle.3> the <O:thing>. // the <R> had not <V.3> the \
<O>.
the <R:role> <{managed;tried;failed}> to <V:handle.0> the <O:thing> <T:when>. // the <R> <V.2> the <O> <T>.
the <R:role> <{failed;tried;managed}> to <V:handle.0> the <O:thing> <T:when>. // the <R> did not <V.0> the <O> <T>.
{because it;if it;had it not} rained, <A:man> {<X:sleep.2>;<X:sleep.2>;would have <X:sleep.3>}. // <A> <X.2>.
{<A:man> would have <X:sleep.3> if he had been alone;<A:man> never <X:sleep.2> unless he was alone;<A:man> \
<X:sleep.2> because he was alone}. // <A> did not <X.0>.
knew = knew | realized | regretted | was aware | was glad | forgot | noticed | remembered
thought = thought | hoped | believed | suspected | claimed | feared | assumed | heard
pretended = pretended | wrongly believed | falsely claimed | was mistaken in thinking | imagined wrongly | lied
managed = managed | was forced | remembered | did not hesitate | took the time | dared
tried = tried | wanted | planned | promised | was asked | hoped
failed = failed | forgot | refused | neglected | was unable | declined
people = the <A:role> <V:meet.2> the <B:role> <T:when>. // the {<B> was <V.3> by the <A>;<B> <V.2> the <A>;<A> did \
not <V.0> the <B>} <T>.
the <A:role> did not <V:meet.0> the <B:role> <T:when>. // the {<B> was not <V.3> by the <A>;<B> did not <V.0> the \
<A>;<B> was <V.3> by the <A>} <T>.
the <A:role> who <V:meet.2> the <B:role> <X:sleep.2>. // {the <A> <X.2>;the <B> <X.2>;the <A> did not <X.0>}.
nobody {;but the <B:role> ;but the <B:role> }<V:meet.2> the <A:role> <T:when>. // the <A> was {not <V.3> by the \
<B:role>;<V.3> by the <Q:adjective> <B>;not <V.3> by the <B>} <T>.
the <A:role> <V:meet.2> everybody <T:when>. // the <A> <V.2> {the <B:role>;everybody <place>;nobody} <T>.
order = <A:woman> <X:sleep.2> before <B:man> <Y:sleep.2>. // <B> <Y.2> {after;because;before} <A> <X.2>.
before <A:woman> <X:sleep.2>, <B:man> had already <Y:sleep.3>. // <A> <X.2> {after;because;before} <B> <Y.2>.
<A:woman> is <C:taller> than <B:man>. // <B> is {<C.1> than <A>;<C.1> than <E:man>;<C> than <A>}.
<A:woman> is <C:taller> than <B:man>, and {<B>;<A>;<B>} is <C> than <E:man>. // {<A>;<B>;<E>} is <C> than \
{<E>;<E>;<A>}.
<A:woman> is {more;less;less} <Q:adjective> than <B:man>. // <B> is {less <Q> than <A>;less <Q> than <E:man>;less <Q> \
than <A>}.
count = two~four~seven | three~five~nine | two~five~eight | four~six~ten | six~nine~twelve | eight~ten~twenty
"""

# What the second sentence of a pair makes of the first one's agent, deed, patient, place and time: s says the same, o
# an opposite or a relative, n something new; x exchanges agent and patient, "-" leaves out.
SCORES = {
    "5.0": "sssss",
    "4.6": "ssss- sss-s",
    "4.2": "sss--",
    "3.8": "ssssn sssns",
    "3.2": "sssnn sssn- sss-n",
    "2.8": "ossss ssoss nssss ssnss",
    "2.4": "xsxss xsxs- xsx-s",
    "2.0": "sosss soss- sos-s",
    "1.6": "snsss snnss nnsss",
    "1.2": "nsnss snnns nsosn",
    "0.8": "nsnnn snnnn nnsnn",
    "0.4": "nnnss nnns- nnn-s",
    "0.0": "nnnnn nnnn- nnn--",
}

FRAMES = """
the <A:somebody> <D:deed> the <B:something> <P:place> <T:time>. // <time5>, the <item3> was <done2> by the <agent1> \
<place4>.
the <A:somebody> <D:deed> the <B:something> <P:place> <T:time>. // the <agent1> <deed2> the <item3> <place4> <time5>.
<T:time>, the <B:something> was <D:deed.1> by the <A:somebody> <P:place>. // it was the <agent1> who <deed2> the \
<item3> <place4> <time5>.
<P:place>, the <A:somebody> <D:deed> the <B:something> <T:time>. // <time5>, the <agent1> <deed2> the <item3> \
<place4>.
the <A:somebody> <V:meet.2> the <B:somebody> <P:place> <T:time>. // <time5>, the <other3> was <met2> by the <agent1> \
<place4>.
<T:time>, the <A:somebody> <V:meet.2> the <B:somebody> <P:place>. // the <agent1> <meet2> the <other3> <place4> \
<time5>.
<P:place>, the <B:somebody> was <V:meet.3> by the <A:somebody> <T:time>. // <time5>, the <agent1> <meet2> the \
<other3> <place4>.
"""

SIMILARITY = """
agent_s = <A> | <A.1> | <A.1>
agent_o = <A.2>
agent_x = <B> | <B.1>
agent_n = <E:somebody> | <E:somebody.1>
item_s = <B> | <B.1> | <B.1>
item_o = <B.2>
item_n = <G:something> | <G:something.1>
other_s = <B> | <B.1>
other_o = <B.2>
other_x = <A> | <A.1>
other_n = <G:somebody> | <G:somebody.1>
deed_s = <D> | <D.2> | <D.2>
deed_o = <D.4>
deed_n = <F:deed> | <F:deed.2>
done_s = <D.1> | <D.3> | <D.3>
done_o = <D.4>
done_n = <F:deed.1> | <F:deed.3>
meet_s = <V.2>
meet_o = did not <V.0>
meet_n = <W:meet.2> | <W:meet.2> | <W:meet.2> | did not <W:meet.0>
met_s = <V.3>
met_o = not <V.3>
met_n = <W:meet.3> | <W:meet.3> | <W:meet.3> | not <W:meet.3>
place_s = <P>
place_n = <Q:place>
time_s = <T>
time_n = <U:time>
"""

# Universal Dependencies' conventions: copula and modal verbs are AUX, possessives PRON, infinitival "to" PART.
PARTS_OF_SPEECH = """
s = 3*<clause> ./PUNCT | <clause> ,/PUNCT <conj>/CCONJ <clause> ./PUNCT | <clause> <sub>/SCONJ <clause> ./PUNCT
<sub>/SCONJ <clause> ,/PUNCT <clause> ./PUNCT | <prep>/ADP <np> ,/PUNCT <clause> ./PUNCT
<call>/INTJ ,/PUNCT <clause> !/PUNCT | <name>/PROPN thinks/VERB that/SCONJ <clause> ./PUNCT
<base>/VERB <np> <prep>/ADP <np> !/PUNCT | do/AUX not/PART <base>/VERB that/DET <noun>/NOUN !/PUNCT
<aux>/AUX <who> <base>/VERB <np> ?/PUNCT | <wh>/ADV did/AUX <who> <base>/VERB that/PRON ?/PUNCT
what/PRON did/AUX <name>/PROPN <base>/VERB <prep>/ADP <np> ?/PUNCT
clause = <who> <past>/VERB <np> | <who> <past>/VERB <np> <prep>/ADP <np> | <pron>/PRON <past>/VERB <np> <adv>/ADV
<plural> <base>/VERB <np> | <plural> <base>/VERB <things>/NOUN <adv>/ADV | <plural> <base>/VERB <prep>/ADP <np>
<det>/DET <agent>/NOUN <third>/VERB <np> | <name>/PROPN <third>/VERB <things>/NOUN
<det>/DET <noun>/NOUN <things>/NOUN are/AUX <adj>/ADJ | the/DET <agent>/NOUN <things>/NOUN were/AUX <adj>/ADJ
the/DET <noun>/NOUN <agent>/NOUN <past>/VERB <np> | the/DET <adjnoun>/NOUN <noun>/NOUN <past>/VERB <np>
<who> <aux>/AUX <base>/VERB <np> | <who> <aux>/AUX not/PART <base>/VERB <adv>/ADV | <who> had/AUX <participle>/VERB \
<np>
<who> had/VERB <num>/NUM <things>/NOUN | <who> did/VERB that/PRON <adv>/ADV | <pron>/PRON were/AUX <adv>/ADV <adj>/ADJ
<who> wants/VERB to/PART <base>/VERB <np> | <who> went/VERB to/ADP <noun>/NOUN <adv>/ADV
<pron>/PRON need/VERB to/PART <base>/VERB to/ADP <det>/DET <noun>/NOUN | the/DET <noun>/NOUN to/PART <base>/VERB \
was/AUX <adj>/ADJ
<who> is/AUX <ing>/VERB <np> | <who> is/AUX like/ADP <det>/DET <noun>/NOUN | <plural> like/VERB <ing>/VERB \
<things>/NOUN
<pron>/PRON heard/VERB that/SCONJ <who> <past>/VERB <adv>/ADV | that/PRON is/AUX <det>/DET <adj>/ADJ <noun>/NOUN
there/PRON was/AUX <det>/DET <noun>/NOUN <prep>/ADP <np> | <who> <past>/VERB <part>/ADP the/DET <noun>/NOUN there/ADV
<who> <past>/VERB <pron2>/PRON <noun>/NOUN <part>/ADV | the/DET <noun>/NOUN that/PRON <who> <past>/VERB was/AUX \
<adj>/ADJ
the/DET fact/NOUN that/SCONJ <who> <past>/VERB <past2>/VERB <name>/PROPN | <np> was/AUX <participle>/VERB by/ADP <who>
<det>/DET <adjnoun>/NOUN <verbs2>/VERB <agent.1>/NOUN | <det>/DET <adj>/ADJ <agent>/NOUN <third>/VERB <adv>/ADV
<who> saw/VERB her/PRON <base>/VERB | <who> saw/VERB her/PRON <noun>/NOUN | <who> has/VERB no/DET <noun>/NOUN
<name>/PROPN and/CCONJ <name>/PROPN <base>/VERB <adv>/ADV | <who> has/AUX <participle>/VERB so/ADV <adj>/ADJ a/DET \
<noun>/NOUN
np = 3*<det>/DET <noun>/NOUN | 2*<det>/DET <adj>/ADJ <noun>/NOUN | 2*<name>/PROPN | <pron2>/PRON <noun>/NOUN
the/DET <noun>/NOUN <noun>/NOUN | <name>/PROPN 's/PART <noun>/NOUN | the/DET <adv2>/ADV <adj>/ADJ <noun>/NOUN
one/NUM of/ADP the/DET <things>/NOUN | no/DET one/PRON | the/DET <adj>/ADJ one/NOUN | <name>/PROPN <name>/PROPN
who = 3*<det>/DET <agent>/NOUN | 2*<det>/DET <adj>/ADJ <agent>/NOUN | 2*<name>/PROPN | <pron2>/PRON <agent>/NOUN
<name>/PROPN 's/PART <agent>/NOUN | one/NUM of/ADP the/DET <agent.1>/NOUN | no/DET one/PRON | the/DET <adj>/ADJ \
one/NOUN
plural = the/DET <agent.1>/NOUN | <pron3>/PRON | <adj>/ADJ <agent.1>/NOUN | <num>/NUM <agent.1>/NOUN | the/DET \
<adj>/ADJ
noun = <verbnoun> | <verbnoun> | <thing> | <adjnoun>
things = <verbnoun.1> | <verbnoun.1> | <thing.1>
agent = <verbagent> | <verbagent> | <adjagent> | <role>
base = <verbnoun> | <verbnoun> | <verbagent> | <act> | <adjverb>
third = <verbnoun.1> | <verbnoun.1> | <verbagent.1> | <act.1> | <adjverb.1>
past = <verbnoun.2> | <act.2> | <adjverb.2>
participle = <verbnoun.3> | <act.3> | <adjverb.3>
past2 = worried | pleased | surprised | annoyed
verbs2 = houses | trains | books | watches | guards | warms | calms | cools
ing = <verbnoun.4> | <act.4> | <adjverb.4>
adj = <adjnoun> | <adjverb> | <adjadv> | <looks> | <adjective>
adv = <adjadv> | <manner> | there | back | well | again | so | home | since | before | inside | over | too | still
adv2 = very | rather | so | too | still | once | only | just | pretty
det = the | the | a | this | that | every | some | another | no | each
pron = I | you | we | they
pron2 = my | your | his | her | our | their | its
pron3 = they | we | you | these | those | some | many | both
num = two | three | four | seven | ten | twelve | twenty
prep = over | since | before | after | near | like | inside | in | on | with | without | past | behind | through | \
under
part = over | up | down | off | back | in | out
sub = since | before | after | although | because | while | until | if | as | so | once | though
conj = and | but | or | yet | so
call = well | no | yes | oh | please | why | hey | so
wh = when | where | why | how
aux = will | can | may | might | must | should | would | could | did
name = <woman> | <man> | <nameword> | <nameword>
nameword = Will | Mark | May | Rose | Grace | Hope | Faith | Bill | Jack | Drew | Chase | Grant | Frank | Rob | Sue | \
Dean
Cook | Baker | Hunter | Fisher | Long | Young | Rich | Brown | Green | White | Stone | Banks | Walker | Price | Bush
April | June | August | Art | Gene | Joy | Dawn | Ray | Pat | Nick | Ty | Wade | Miles | Penny | Ruby | Sandy | Summer
act = <meet> | <handle>
"""

# The same names serve several kinds, and many are ordinary words: only what surrounds them tells.
ENTITIES = """
s = 5*<news> . | <news> , and <news> . | <plain> . | <plain> , but <news> . | <news> while <plain> . | <day> , <news> \
.
news = [person <p>] said that [person <p>] would leave [location <l>] <day> | [person <p>] was born in [location <l>]
[organization <o>] hired [person <p>] as <job> | shares of [organization <o>] fell after [person <p>] left
[organization <o>] beat [organization <o>] in [location <l>] | [person <p>] met [person <p>] near [location <l>]
[person <p>] , <job> at [organization <o>] , lives in [location <l>] | the road from [location <l>] to [location <l>] \
was closed
[organization <o>] opened an office in [location <l>] <day> | [organization <o>] sued [organization <o>] over the \
[product <d>]
[person <p>] bought a [product <d>] from [organization <o>] | the new [product <d>] is faster than the [product <d>]
[person <p>] left [organization <o>] for [organization <o>] | [person <p>] left [location <l>] for [location <l>] \
<day>
[organization <o>] recalled the [product <d>] <day> | [person <p>] told [person <p>] about [location <l>]
[person <p>] played for [organization <o>] | [person <p>] drove to [location <l>] in a [product <d>]
[organization <o>] will sell the [product <d>] in [location <l>] | it snowed in [location <l>] and [location <l>] \
<day>
the mayor of [location <l>] thanked [person <p>] | the chairman of [organization <o>] thanked [person <p>]
[organization <o>] , based in [location <l>] , bought [organization <o>] | <job> [person <p>] arrived in [location \
<l>] <day>
[person <p>] works for [organization <o>] and [person <p>] for [organization <o>] | [person <p>] reviewed the \
[product <d>]
engineers at [organization <o>] designed the [product <d>] | [person <p>] married [person <p>] in [location <l>]
[organization <o>] denied that [person <p>] had been paid | the flight to [location <l>] was late , said [person <p>]
fans of [organization <o>] marched through [location <l>] | [person <p>] dropped his [product <d>] in [location <l>]
[person <p>] scored twice against [organization <o>] | [organization <o>] lost to [organization <o>] <day>
[location <l>] voted against the plan of [person <p>] | [organization <o>] voted to replace [person <p>]
[person <first>] 's neighbor moved to [location <l>] | [organization <o>] 's profits rose <day> | [location <l>] 's \
bridges are old
plain = the <word> was near the <word> | a <word> and a <word> were lost | every <word> needs a <word> | he will mark \
the <word>
they found a <word> under the <word> <day> | we like reading , said the <word> | it may be nice to cook | the <word> \
is a <word>
she sold the <word> to <job> | <job> asked for a <word> | there is hope for the <word>
p = 3*<first> <last> | 2*<last> | 2*<first> | <first> <last> <last>
l = 4*<city> | <city> <spot> | <last> <spot> | <direction> <city> | Lake <last> | <spot2> of <last> | Mount <last>
o = 3*<brand> | 2*<city> <club> | 2*<last> <firm> | University of <city> | Bank of <city> | <last> and <last> | \
<city> | <last>
<brand> <firm> | <brand> <city> | <city> <firm> | <direction> <city> <firm>
d = 2*<brand> <model> | <model> | <model> <number> | <last> <number> | <brand> <number> | <brand> <model> <number>
first = <woman> | <man> | <shared> | <nameword>
last = <surname> | <shared> | <nameword>
city = <town> | <shared> | <townword>
brand = <brandword> | <brandword> | <shared> | <townword> | <surname>
shared = Washington | Lincoln | Jordan | Paris | Chelsea | Florence | Austin | Jackson | Madison | Georgia | Sydney
Charlotte | Victoria | Houston | Hamilton | Lancaster | Dallas | Savannah | Chester | Logan | Preston | Stafford
Kent | Carter | Israel | Burton | Clayton | Douglas | Everett | Franklin | Lawrence | Milton | Orlando | Perry | \
Regina
Santiago | Vernon | Warren | Wellington | Winston | Ford | Morgan | Chase | Cadbury | Wells | Lambert | Denver | \
Camden
nameword = Will | Mark | Rose | Grace | Hope | Frank | Bill | Grant | Baker | Hunter | Cook | Young | Long | Rich
Stone | Banks | Rivers | Fields | Summers | Winter | King | Bishop | Page | Price | Bush | Marsh | Wood | Hill | Park
surname = Miller | Johnson | Schmidt | Novak | Rossi | Garcia | Tanaka | Patel | Nguyen | Larsen | Murphy | Kowalski
Petrov | Ferrari | Bennett | Collins | Foster | Griffin | Hughes | Keller | Lopez | Mendoza | Olsen | Quinn | Ramirez
town = Oslo | Lisbon | Chicago | Nairobi | Mumbai | Toronto | Geneva | Prague | Seoul | Lagos | Boston | Havana | \
Vienna
Warsaw | Cairo | Dublin | Manila | Athens | Lima | Bogota | Krakow | Leipzig | Porto | Seville | Tampa | Utrecht
townword = Bath | Reading | Nice | Cork | Hull | Deal | Rugby | Sandwich | Buffalo | Mobile | Phoenix | Orange | Split
Turkey | China | Battle | Rye | March | Sale | Ware | Diss | Bury | Crook | Ripley | Goole | Hook | Flint | Barking
brandword = Apple | Shell | Target | Gap | Orange | Oracle | Amazon | Square | Slack | Subway | Sprint | Caterpillar
Anchor | Beacon | Summit | Pioneer | Harvest | Canopy | Compass | Falcon | Ember | Lantern | Meridian | Nimbus | \
Quarry
model = Galaxy | Falcon | Summit | Phoenix | Meteor | Arrow | Breeze | Compass | Comet | Pilot | Ranger | Spark | \
Swift
Tempest | Vision | Wave | Bolt | Echo | Flash | Glider | Lantern | Mirage | Orbit | Pulse | Raven | Shadow | Lincoln
word = apple | shell | target | gap | orange | square | subway | anchor | beacon | summit | harvest | canopy | compass
falcon | bath | sandwich | buffalo | turkey | battle | march | hook | rose | hunter | cook | stone | bank | river | \
field
king | bishop | page | price | bush | marsh | wood | hill | park | galaxy | meteor | arrow | comet | pilot | ranger | \
flash
spot = Hills | Park | Street | Bridge | Airport | Valley | Bay | Beach | Station | Square
spot2 = Port | Isle | Gulf | Bay
direction = North | South | East | West | New | Upper
club = United | City | Rovers | Lions | Tigers | Wanderers | Hawks | Stars
firm = Group | Bank | Holdings | Motors | University | Foods | Institute | Airlines | Press | College | Records
number = 3 | 5 | 7 | 9 | 200 | 500 | X | Pro | Max | Mini
job = a <word2> | the <word2> | an old <word2>
word2 = cook | baker | hunter | lawyer | banker | pilot | senator | bishop | king | manager | page | ranger | \
engineer | coach
day = on Monday | on Sunday | in March | in May | last summer | last winter | yesterday | in 2019 | on Friday | in \
the fall
"""
