"""A digest as words that people read to each other.

Nine words of a list of 512 are 81 bits. Who wants another charter with the phrase of a given one
tries some 2^81 charters. Two charters of one phrase would take 2^41, but nobody can choose both
freely: each founder has committed to 16 random bytes before it sees anybody else's, and all of
them go into the digest.

No two words of the list begin with the same four letters, and none becomes another by changing,
adding or leaving out one letter: what a bad line or a bad hand makes of a word is no other word.
"""

from p2pfl_crypto.hashing import hash_parts

PHRASE_WORDS = 9
WORD_BITS = 9

_LIST = """
acorn actor album alley almond amber anchor angel ankle antler anvil apple apron arbor archer
arrow artist ashen atlas attic autumn avenue award awning axle bacon badge baker ballad balsam
bamboo banjo barley barn barrel basket beach beard beaver beetle berry birch bishop blue boat
bobbin book boots border bottle bowl branch brass bread brick bridge bronze broom brush bucket
bugle butter buyer cabin cable cactus camel canal candle canoe canvas canyon carbon cargo carpet
carrot castle cedar celery cellar cement chair chalk cherry chess cider cinema circle citrus city
clay clock clover coal cobalt cobweb cocoa coffee comet copper corner cotton cousin cradle crane
crayon crocus crown cube cuckoo cycle dagger dairy dancer dawn decade deer delta denim desert desk
diary dinner diver doctor donkey dough dove dragon drawer dress duck dune dust eagle earth easel
echo edge editor elbow elder engine envoy essay exit fabric falcon family farmer father fence fern
fiddle field figure finger fish flag flame flask flint flower flute foam forest fork fossil frog
frost fruit fudge funnel gadget galaxy garden garlic gate geese geyser giant glass globe goblet
gold goose gown grain grape gravel green grocer guest guitar gulf habit hail halo hammer harp hawk
hazel heart helmet herb hermit heron hiker hill hinge hobby hockey honey hood horse hostel hunter
hurdle hyena icon idea igloo image inch indigo inlet insect island item ivory jacket jaguar jelly
jewel jigsaw jogger juice jumper jungle junior jury kayak kennel kettle kilo kimono king kiosk
kite kitten kiwi knee knight knot koala label lace ladder lagoon lamp laptop larch laser lava leaf
lemon lentil letter level lilac lily lime linen lion lizard llama locket lodge loft lotus lounge
lumber lunch lynx lyric magnet magpie mango manor maple marble market mason meadow medal melon
memory menu meteor metro midday milk mint mirror model moon mosaic moth mouse muffin museum music
myrtle nation nature navy nebula needle nephew nest nickel nimbus noodle north nougat novel nugget
nurse nutmeg nylon oasis oboe ocean office olive omelet onion opal opera orange orbit organ orient
osprey otter outfit oven oxygen oyster paddle page palace panda paper parade pasta path pearl
pebble pencil pepper petal phone photo piano picnic pigeon pilot pine pixel pizza planet plum poem
polar pony porch potato powder prince prism prune pulley puppet purple puzzle python quail quarry
queen quilt quiver quiz rabbit radar radio raft raisin raven razor recipe record reef region relay
rescue ribbon rice road robin rodeo rose rotor round royal rubber ruby rudder ruler runway sailor
salad salmon sandal satin sauce scarf school sedan seed senate seven shadow shelf ship shrimp
sickle silver siren sister skater skull sleeve sloth smile snail snow soap soccer sofa sonata
spade spice spider spoon spruce squash stable steel stone storm straw sugar summer sunset swan
swing sword syrup tape target tavern taxi teapot tent thorn tiger titan toast topaz tower trail
tree trout tuba tulip tutor twig uncle urban vapor vase vault video vocal vowel wagon wave whale
wheat wolf wool wren wrist yacht yard yeast yoga zebra zero zinc zone
"""
WORDS = tuple(_LIST.split())


def phrase_of(digest: bytes) -> tuple[str, ...]:
    """Return the nine words of a digest: the first 81 bits of H("p2pfl/phrase", digest)."""
    number = int.from_bytes(hash_parts(b"p2pfl/phrase", digest))
    number >>= 256 - PHRASE_WORDS * WORD_BITS
    places = [
        number >> WORD_BITS * place & (2**WORD_BITS - 1) for place in reversed(range(PHRASE_WORDS))
    ]
    return tuple(WORDS[place] for place in places)


def read_phrase(text: str) -> tuple[str, ...]:
    """Read a phrase as somebody has typed it: in any case, by first letters from four on.

    Raises:
        ValueError: it has another number of words, or one that is not of the list.
    """
    typed = text.lower().replace(",", " ").split()
    if len(typed) != PHRASE_WORDS:
        raise ValueError(f"a phrase has {PHRASE_WORDS} words, not {len(typed)}")
    return tuple(_find(word) for word in typed)


def _find(word: str) -> str:
    found = [
        known for known in WORDS if known == word or (len(word) > 3 and known.startswith(word))
    ]
    if len(found) != 1:
        raise ValueError(f"{word!r} is no word of a phrase; listen again")
    return found[0]
