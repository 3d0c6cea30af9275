"""Captions of our own and their triplets, read by a person: `subject, action, object`, a star before an attribute."""

from __future__ import annotations

from crosscue.knowledge.actions.record import Triplet

GOLDEN: tuple[tuple[str, str], ...] = (
    # transitive
    ("A farmer drives a tractor.", "farmer, driving, tractor"),
    ("A woman pours tea.", "woman, pouring, tea"),
    ("Two boys carry a ladder.", "boys, carrying, ladder"),
    ("The chef is slicing an onion.", "chef, slicing, onion"),
    ("A puppy chews an old shoe.", "puppy, chewing, shoe; *shoe, is, old"),
    ("A girl wearing a yellow raincoat", "girl, wearing, raincoat; *raincoat, is, yellow"),
    ("A man paints a wooden fence.", "man, painting, fence; *fence, is, wooden"),
    ("Three children are building a sandcastle.", "children, building, sandcastle"),
    ("A cat licked its paw.", "cat, licking, paw"),
    ("A boy is holding a lantern and a map.", "boy, holding, lantern; boy, holding, map"),
    # intransitive, with and without a place
    ("A baby sleeps.", "baby, sleeping,"),
    ("The horses are grazing.", "horses, grazing,"),
    ("A swimmer dives into a lake.", "swimmer, diving into, lake"),
    ("An old man sits on a bench.", "man, sitting on, bench; *man, is, old"),
    ("A bird is flying over the harbour.", "bird, flying over, harbour"),
    ("Two dogs run through the mud.", "dogs, running through, mud"),
    ("A skier jumps off a cliff.", "skier, jumping off, cliff"),
    ("A child crawls under the table.", "child, crawling under, table"),
    ("A woman stood in front of a mirror.", "woman, standing in front of, mirror"),
    ("The bus stops next to a tree.", "bus, stopping next to, tree"),
    ("A man in a blue shirt is jumping in the air", "man, jumping in, air; man, in, shirt; *shirt, is, blue"),
    ("A boy slides down.", "boy, sliding down,"),
    # passive
    ("A letter is written by a girl.", "girl, writing, letter"),
    ("A sheep is chased by two dogs.", "dogs, chasing, sheep"),
    ("A car is parked on the road.", "car, parked on, road"),
    ("The table is covered with snow.", "table, covered with, snow"),
    ("A boy pulled by a pony", "pony, pulling, boy"),
    ("A kite was thrown away by a child.", "child, throwing away, kite"),
    ("A house surrounded by water", "house, surrounded by, water"),
    ("A cake is being cut by a woman.", "woman, cutting, cake"),
    # several actors, several verbs
    ("A man and a woman are dancing.", "man, dancing,; woman, dancing,"),
    ("A boy and a girl throw a ball.", "boy, throwing, ball; girl, throwing, ball"),
    ("A man plays the piano while a woman sings.", "man, playing, piano; woman, singing,"),
    ("A girl sits on a wall and eats an apple.", "girl, sitting on, wall; girl, eating, apple"),
    ("A dog is barking and a cat is watching it.", "dog, barking,; cat, watching,"),
    ("A woman pushing a stroller talks to a friend.", "woman, pushing, stroller; woman, talking to, friend"),
    ("A surfer who is wearing a wetsuit rides a wave.", "surfer, wearing, wetsuit; surfer, riding, wave"),
    ("A girl tries to catch a butterfly.", "girl, trying to catch, butterfly"),
    ("A group of tourists are looking at a statue.", "tourists, looking at, statue"),
    ("A man stands on a roof. He is waving a flag.", "man, standing on, roof; man, waving, flag"),
    ("A woman helps a child to climb a tree.", "woman, helping, child; child, climbing, tree"),
    ("A photo of a man riding a camel", "man, riding, camel"),
    # no verb: attributes and relations
    ("A red bicycle", "*bicycle, is, red"),
    ("A black and white cat", "*cat, is, black; *cat, is, white"),
    ("An empty, rusty swimming pool", "*swimming pool, is, empty; *swimming pool, is, rusty"),
    ("A teapot with a broken handle", "teapot, with, handle; *handle, is, broken"),
    ("A lamp next to a bed", "lamp, next to, bed"),
    ("A cottage behind tall trees", "cottage, behind, trees; *trees, is, tall"),
    ("A woman in a straw hat and sandals", "woman, in, straw hat; woman, in, sandals"),
    ("The soup is hot.", "*soup, is, hot"),
    ("A plate is on the table.", "plate, on, table"),
    ("A smiling girl", "*girl, is, smiling"),
    ("There is a clock above the door.", "clock, above, door"),
    ("A small boat in the middle of a lake", "boat, in the middle of, lake; *boat, is, small"),
    # negated
    ("A man is not wearing a helmet.", ""),
    ("A boy without shoes runs.", "boy, running,; boy, without, shoes"),
    ("No people are walking on the beach.", ""),
    ("A man has no hat.", ""),
    # nouns that look like verbs, verbs that look like nouns
    ("A tall building on a hill", "building, on, hill; *building, is, tall"),
    ("A dog walks in a dog park.", "dog, walking in, dog park"),
    ("A boy watches a train.", "boy, watching, train"),
    ("A man in a park reads the morning paper.", "man, reading, morning paper; man, in, park"),
    ("A woman dressed in black waits at a crossing.", "woman, dressed in, black; woman, waiting at, crossing"),
    ("A painting of flowers in a dining room", "flowers, in, dining room"),
    ("A welder repairs a gate.", "welder, repairing, gate"),
)

FOREIGN = (
    "Ein Mann reitet auf einem Pferd am Strand.",
    "Zwei Hunde spielen im Schnee",
    "Un homme joue de la guitare dans la rue.",
    "Un perro negro corre por la playa",
    "Um gato preto dorme no sofá",
    "Een vrouw fietst door de stad",
    "一个男人在骑马",
    "Мужчина едет на лошади",
    "男の子が公園でボールを蹴っている",
)
"""Captions that are not English."""


def golden_triplets(caption: str) -> tuple[Triplet, ...]:
    """The triplets of a golden caption, in the order written above; none of another caption."""
    found = []
    for part in filter(None, map(str.strip, dict(GOLDEN).get(caption, "").split(";"))):
        subject, action, thing = (slot.strip() for slot in part.removeprefix("*").split(","))
        found.append(Triplet(subject, action, thing, "attribute" if part.startswith("*") else "action"))
    return tuple(found)
