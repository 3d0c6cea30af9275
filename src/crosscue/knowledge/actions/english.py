"""English words: closed classes, living beings, clothes, and verbs by class with their forms."""

from __future__ import annotations

import functools
import re


def words(text: str) -> frozenset[str]:
    """Returns the words of a text as a set; `next_to` stands for `next to`."""
    return frozenset(word.replace("_", " ") for word in text.split())


DETERMINERS = words(
    "a an the this these those his her their its my your our some any each every another both all either no other others' "
    "whose"
)
NUMBERS = words(
    "one two three four five six seven eight nine ten eleven twelve dozen dozens several many few multiple numerous various"
)
BE = words("is are was were be been being am 's isn't aren't wasn't weren't")
NEGATIONS = words("not never n't isn't aren't wasn't weren't don't doesn't didn't can't won't neither nor")
PRONOUNS = words(
    "he she they it him them i you we us me himself herself themselves itself something someone somebody everyone everybody "
    "nothing nobody one's"
)
RELATIVES = words("who which that whom")
CONJUNCTIONS = words("and or but while as & then when where because so")
LOCATIVE = words(
    "in on at near by with under over behind beside above below beneath between among inside outside against atop around "
    "along across before after without amongst amid within next_to in_front_of on_top_of close_to in_the_middle_of underneath "
    "on_the_side_of at_the_edge_of on_the_edge_of on_the_back_of in_the_back_of at_the_end_of at_the_top_of on_the_top_of "
    "at_the_bottom_of along_the_side_of in_the_center_of near_the_edge_of at_the_side_of along_the_edge_of by_the_side_of "
    "on_the_front_of on_the_corner_of on_the_end_of in_back_of alongside upon like on_a_side_of at_the_base_of down up past"
)
PREPOSITIONS = LOCATIVE | words(
    "of to for from into onto through toward towards off out out_of away_from during at_night about via per till until"
)
NO_RELATION = words("of to for from about as during into per till until via at_night")
"""Prepositions that do not place one thing in relation to another."""
WRAPPERS = words("photo picture image view shot photograph")  # words: ok
"""Nouns for the image itself, not for its content."""
PARTICLES = words("up down off out away over around back along together forward apart by through past")
OF_GROUP = words(
    "group couple pair bunch lot lots herd flock pack team crowd line row number variety set pile series gathering body piece slice kind type bunches "
    "groups pairs rows collection stack"
)
"""Nouns of quantity: `a group of people` is about the people."""

PEOPLE = words(
    "man men woman women boy boys girl girls child children kid kids baby babies toddler toddlers infant person people lady "
    "ladies guy guys gentleman gentlemen teenager teenagers teen teens adult adults youth youths couple family families friend "
    "friends brother brothers sister sisters mother mothers father fathers mom dad parent parents grandmother grandfather "
    "son daughter player players rider riders surfer surfers skier skiers skateboarder skateboarders snowboarder snowboarders "
    "biker bikers cyclist cyclists bicyclist bicyclists motorcyclist climber climbers hiker hikers swimmer swimmers runner runners "
    "dancer dancers skater skaters athlete athletes worker workers officer officers policeman police soldier soldiers student "
    "students teacher performer performers musician musicians singer artist chef cook waiter waitress doctor nurse bride groom "
    "fan fans crowd crowds audience spectator spectators team teams clown cowboy fisherman goalie quarterback pitcher batter catcher "
    "driver pilot passenger passengers tourist tourists shopper shoppers vendor customer customers photographer construction_worker "
    "wrestler wrestlers boxer boxers group pedestrian pedestrians kayaker kayakers racer racers male female males females individual "
    "individuals cheerleader cheerleaders golfer gymnast acrobat juggler bicycler snowboarders parasailer wakeboarder referee"
)
ANIMALS = words(
    "dog dogs puppy puppies cat cats kitten kittens horse horses cow cows bull bulls sheep lamb goat goats pig pigs bird birds "
    "duck ducks goose geese swan chicken chickens seagull seagulls pigeon pigeons eagle hawk owl parrot elephant elephants "
    "giraffe giraffes zebra zebras bear bears lion tiger monkey monkeys deer rabbit squirrel fox wolf camel camels donkey animal "
    "animals fish shark dolphin turtle snake frog butterfly bee greyhound greyhounds terrier poodle labrador retriever collie "
    "shepherd bulldog dalmatian dachshund beagle boxer husky hound pony calf kangaroo panda rooster hen mule ox flamingo heron pug"
)
ANIMATE = PEOPLE | ANIMALS
CLOTHING = words(
    "shirt shirts t-shirt tee-shirt dress dresses hat hats cap coat jacket jackets vest vests shoes boots shorts pants jeans suit suits "
    "helmet helmets glasses sunglasses collar collars uniform uniforms gloves scarf skirt goggles hood jersey jerseys outfit outfits "
    "costume costumes swimsuit swimsuits bikini trunks leash harness backpack clothes clothing gear sweater sweatshirt hoodie robe "
    "wetsuit bathing_suit bathing_suits swimming_trunks muzzle mask tie socks sandals apron bandana headband tuxedo gown overalls top"
)

VERBS: dict[str, frozenset[str]] = {
    "locomotion": words(
        "run walk jump leap climb swim crawl dance skip hop march jog sprint hike stroll wander chase follow approach enter leave "
        "cross pass dash gallop trot slide fall roll spin turn flip bounce dive splash wade fly float glide hover land move go come "
        "head travel rush step tumble swing emerge exit descend ascend race parade trek lunge frolic soar charge somersault scale return"
    ),
    "posture": words(
        "sit stand lie lay lean kneel crouch squat bend rest sleep pose wait perch relax lounge recline nap stretch huddle gather "
        "face hang balance dangle line stoop straddle cling sunbathe float"
    ),
    "manipulation": words(
        "hold carry throw toss catch pull push lift raise drop pick put place give hand take grab grasp reach open close cut chop slice "
        "mix stir pour wash clean wipe dry brush comb fold tie wrap fix repair build make draw paint write type dig plant cook bake "
        "grill prepare fill load stack use operate knit sew feed squeeze shake wave point clap drag sweep shovel rake blow spray bury "
        "hammer saw weld adjust measure attach fetch retrieve deliver collect show display present sell buy try attempt work rip tear shear "
        "play fly perform juggle pluck strum drum"
    ),
    "ingestion": words("eat drink bite chew lick sip taste swallow nibble graze smoke devour munch suck feast"),
    "looking": words(
        "look watch stare gaze observe see view examine inspect read study peer admire photograph film glance sniff smell listen"
    ),
    "expression": words(
        "smile laugh grin frown cry yell scream shout talk speak chat sing whistle bark growl howl cheer celebrate converse pray "
        "yawn whisper argue gesture"
    ),
    "sport": words(
        "kick hit bat pitch dribble shoot score tackle wrestle box fight compete serve surf ski skate skateboard snowboard sled "
        "wakeboard bowl golf practice practise exercise train swing dunk block defend volley putt rollerblade parasail snorkel block"
    ),
    "vehicle": words(
        "ride drive steer park row paddle sail pedal cycle bike pilot tow canoe kayak raft pull_up motorcycle"
    ),
    "contact": words(
        "hug kiss embrace touch pet stroke pat cuddle scratch tickle rub massage snuggle nuzzle tug grip wrestle bump collide "
        "shake_hands tackle"
    ),
    "wearing": words("wear dress cover decorate clothe adorn surround sport model"),
    "being": words(
        "have contain include seem appear need want like enjoy help let start begin stop continue get keep share"
    ),
}
"""Visual class of an action -> base forms of its verbs. A verb belongs to the first class that contains it."""
CATENATIVE = words("try attempt prepare start begin wait want need get go reach lean continue stop stretch set")

IRREGULAR = {
    "sat": "sit", "stood": "stand", "ran": "run", "rode": "ride", "ridden": "ride", "held": "hold", "threw": "throw",
    "thrown": "throw", "caught": "catch", "took": "take", "taken": "take", "made": "make", "ate": "eat", "eaten": "eat",
    "drank": "drink", "wore": "wear", "worn": "wear", "swam": "swim", "fell": "fall", "fought": "fight", "drove": "drive",
    "driven": "drive", "flew": "fly", "flown": "fly", "hung": "hang", "built": "build", "gave": "give", "given": "give",
    "went": "go", "came": "come", "drawn": "draw", "drew": "draw", "written": "write", "wrote": "write", "shot": "shoot",
    "slept": "sleep", "swung": "swing", "spoke": "speak", "seen": "see", "saw": "see", "bent": "bend", "fed": "feed",
    "blown": "blow", "shown": "show", "dug": "dig", "sang": "sing", "left": "leave", "led": "lead", "laid": "lay",
    "knelt": "kneel", "leapt": "leap", "slid": "slide", "stuck": "stick", "torn": "tear", "bitten": "bite", "sold": "sell",
    "lit": "light", "begun": "begin", "began": "begin", "shook": "shake", "clung": "cling", "has": "have", "had": "have",
}  # fmt: skip


@functools.cache
def all_verbs() -> frozenset[str]:
    """Returns every base form."""
    return frozenset().union(*VERBS.values(), IRREGULAR.values())


@functools.lru_cache(maxsize=50_000)
def base_of(word: str) -> str | None:
    """Returns the base form of a known verb in any form, else None."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    known = all_verbs()
    if word in known:
        return word
    return next((base for base in _stems(word) if base in known), None)


def verb_class(word: str) -> str:
    """Returns the visual class of a verb, or `other`."""
    base = base_of(word) or word
    return next((name for name, verbs in VERBS.items() if base in verbs), "other")


@functools.lru_cache(maxsize=50_000)
def gerund(base: str) -> str:
    """Returns the -ing form of a verb: running, riding, lying."""
    if base.endswith("ie"):
        return base[:-2] + "ying"
    if base.endswith("e") and not base.endswith(("ee", "oe", "ye")) and base != "be":
        return base[:-1] + "ing"
    doubled = re.fullmatch(r"[^aeiou]*[aeiou][bdgklmnprtz]|\w*(?:get|gin|mit|fer)", base)
    return base + base[-1] + "ing" if doubled else base + "ing"


def lemmas(word: str) -> frozenset[str]:
    """Returns the forms a word may have in a dictionary: itself, without its ending, its verb."""
    found = {word, *_stems(word)}
    if (base := base_of(word)) is not None:
        found.add(base)
    if word in _PLURALS:
        found.add(_PLURALS[word])
    return frozenset(found)


_PLURALS = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "mice": "mouse", "geese": "goose", "feet": "foot",
    "teeth": "tooth", "leaves": "leaf", "wolves": "wolf", "knives": "knife", "policemen": "policeman", "persons": "person",
}  # fmt: skip


def _stems(word: str) -> list[str]:
    found = []
    for ending, instead in (
        ("ies", ("y", "ie")),
        ("ied", ("y",)),
        ("es", ("", "e")),
        ("s", ("",)),
        ("ed", ("", "e")),
        ("ying", ("ie", "y")),
        ("ing", ("", "e")),
    ):
        if word.endswith(ending) and len(word) > len(ending) + (ending != "ying"):
            stem = word[: -len(ending)]
            found += [stem + letter for letter in instead]
            if ending in ("ed", "ing") and len(stem) > 2 and stem[-1] == stem[-2]:
                found.append(stem[:-1])
    return found
