/* words.h: the words and sentence patterns of the little world. Data only; grammar.c reads it.
 *
 * In a pattern {name} is a random word of a pool, {topic}, {quality}, {place} and {habit} belong to the turn's topic,
 * {feeling}, {task}, {when}, {animal}, {name} keep their value within a turn; a capital first letter capitalises. */
#ifndef WORDS_H
#define WORDS_H

#include <stddef.h>

typedef struct words_topic {
    const char *topic, *quality, *place, *habit;
} words_topic;

static const words_topic words_topics[] = {
    {"the rain", "soft", "on the roof", "falls all night"},
    {"the sea", "wide", "by the shore", "comes and goes"},
    {"the garden", "green", "behind the house", "grows in the sun"},
    {"the moon", "pale", "over the hill", "rises late"},
    {"the river", "cold", "under the bridge", "runs to the sea"},
    {"the snow", "white", "on the field", "falls without a sound"},
    {"the wind", "wild", "in the trees", "blows from the north"},
    {"the forest", "dark", "beyond the village", "stands still"},
    {"the cat", "quiet", "on the chair", "sleeps all day"},
    {"the dog", "loyal", "at the door", "waits for a walk"},
    {"the bird", "small", "in the nest", "sings at dawn"},
    {"the bee", "busy", "in the flower", "makes honey"},
    {"bread", "warm", "in the oven", "smells good"},
    {"tea", "hot", "in the cup", "cools slowly"},
    {"soup", "thick", "in the pot", "cooks for an hour"},
    {"music", "lively", "in the hall", "fills the room"},
    {"the book", "old", "on the shelf", "tells a long tale"},
    {"the train", "fast", "at the station", "leaves at noon"},
    {"the market", "loud", "in the square", "opens early"},
    {"the school", "bright", "near the church", "starts at eight"},
    {"the clock", "slow", "on the wall", "strikes the hour"},
    {"the lamp", "yellow", "by the window", "burns till late"},
    {"the boat", "sturdy", "in the harbour", "rocks on the waves"},
    {"the mountain", "steep", "far away", "wears a cap of cloud"},
    {"winter", "long", "in the valley", "brings the frost"},
    {"summer", "golden", "in the hills", "ends too soon"},
    {"the morning", "clear", "over the town", "comes with light"},
    {"the evening", "calm", "in the street", "closes the day"},
};

typedef struct words_pool {
    const char *name;
    const char *const *items;
} words_pool;

#define WORDS(name) static const char *const words_##name[]

WORDS(feeling) = {"sad",     "tired", "lonely", "happy", "nervous", "bored", "angry",
                  "worried", "proud", "lost",   "cold",  "hungry",  NULL};
WORDS(task) = {
    "my homework",  "the dishes", "my letter",    "the cooking", "my report",   "the packing", "the shopping",
    "the cleaning", "my speech",  "the painting", "the digging", "the mending", NULL};
WORDS(when) = {"today",      "tonight",        "tomorrow", "this week", "on Sunday",
               "after work", "in the morning", "at noon",  NULL};
WORDS(person) = {"my sister", "my brother", "my friend", "my mother", "my neighbour", "my teacher", NULL};
WORDS(advice) = {"Take a short walk.",  "Drink some water.",  "Sleep a little.",
                 "Call a friend.",      "Make a list.",       "Rest for an hour.",
                 "Eat something warm.", "Sit by the window.", NULL};
WORDS(deed) = {"read a book",      "bake bread",     "visit a friend",
               "clean the room",   "go for a walk",  "write a letter",
               "water the plants", "cook some soup", NULL};
WORDS(size) = {"small", "big", "young", "old", "thin", "round", NULL};
WORDS(animal) = {"fox",  "bear", "mouse", "rabbit", "goat", "duck", "horse",
                 "frog",  "hen",   "wolf",   "pig",  NULL};
WORDS(name) = {"Anna",  "Ben",  "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Ida",
               "Jonas", "Lena", "Max",   "Nora",  "Otto", "Paula", "Tom",   NULL};
WORDS(thing) = {"a key",  "a coin", "an apple", "a hat",  "a bell", "a rope",
                "a shoe", "a map",  "a spoon",  "a ring", NULL};
WORDS(spot) = {"in the barn",   "near the well", "on the road", "under a tree", "at the mill", "by the fence",
               "in the cellar", "on the hill",   NULL};
WORDS(act) = {"gave it to",  "hid it from", "showed it to", "sold it to", "took it back to",
              "kept it for", NULL};
WORDS(ending) = {"Then they went home.",
                 "They ate and slept.",
                 "After that it rained.",
                 "Nobody knew why.",
                 "They laughed about it.",
                 "That was all.",
                 NULL};

/* manner words */
WORDS(image) = {"a silver thread",
                "a sleeping field",
                "a candle in the mist",
                "a leaf upon still water",
                "an old song",
                "a feather on the wind",
                "a lantern in the dusk",
                "a petal in the snow",
                "a bell beneath the waves",
                "the breath of dawn",
                "a river of stars",
                "the hush of moss",
                NULL};
WORDS(glow) = {"whispers", "glimmers", "dreams", "drifts", "trembles", "blossoms", "sighs", "shimmers", NULL};
WORDS(tiny) = {"a drop of dew",
               "a grain of sand",
               "a crumb of light",
               "a single seed",
               "a spider's thread",
               "a moth's wing",
               NULL};
WORDS(dear) = {"sweet one", "dear friend", "dear heart", "sweet friend", NULL};
WORDS(shout) = {"Hooray", "Yay", "Wow", "Oh joy", "Yippee", NULL};
WORDS(super) = {"wonderful", "fantastic", "marvellous", "brilliant", "splendid", "delightful", NULL};
WORDS(ship) = {"the mast",   "the anchor",   "the rum",  "the sails", "the plank",
               "the cannon", "the treasure", "the deck", NULL};
WORDS(oath) = {"Arr", "Ahoy", "Yo ho", "Shiver me timbers", "Blow me down", NULL};
WORDS(sir) = {"esteemed friend", "honoured guest", "dear sir or madam", "respected colleague", NULL};

static const words_pool words_pools[] = {
    {"feeling", words_feeling}, {"task", words_task},   {"when", words_when},   {"person", words_person},
    {"advice", words_advice},   {"deed", words_deed},   {"size", words_size},   {"animal", words_animal},
    {"name", words_name},       {"thing", words_thing}, {"spot", words_spot},   {"act", words_act},
    {"ending", words_ending},   {"image", words_image}, {"glow", words_glow},   {"tiny", words_tiny},
    {"dear", words_dear},       {"shout", words_shout}, {"super", words_super}, {"ship", words_ship},
    {"oath", words_oath},       {"sir", words_sir},
};

/* What people say in a chat, by intent. */
enum { INTENT_ABOUT, INTENT_FEELING, INTENT_GREETING, INTENT_HELP, INTENT_PLAN, INTENT_PERSON, INTENTS };
#define MANY(...)                                                                                            \
    (const char *const[]) {                                                                                  \
        __VA_ARGS__, NULL                                                                                    \
    }
static const char *const *const words_questions[INTENTS] = {
    MANY("Tell me about {topic}.", "What do you think of {topic}?", "Do you like {topic}?",
         "What is {topic} like?", "Say something about {topic}.", "Why do people like {topic}?",
         "I was thinking of {topic}."),
    MANY("I feel {feeling} today.", "I am {feeling}.", "I feel {feeling}. What now?",
         "Why am I so {feeling}?", "I am {feeling} because of {topic}."),
    MANY("Hello!", "Good morning.", "Hi there.", "Good evening.", "How are you?", "How was your day?",
         "Hello, my name is {name}."),
    MANY("Can you help me with {task}?", "How do I start {task}?", "I have to do {task}.",
         "I can not finish {task}.", "Any advice for {task}?"),
    MANY("What should I do {when}?", "What will you do {when}?", "Give me an idea for {when}.",
         "I am free {when}."),
    MANY("{Person} is {feeling}.", "How can I cheer up {person}?", "I had a fight with {person}.",
         "{Person} likes {topic}."),
};

typedef struct words_manner {
    const char *name;
    const char *traits[3];
    const char *const *answers[INTENTS];
    const char *const *tails[3]; /* one list a trait */
} words_manner;

static const words_manner words_manners[] = {
    {"plain",
     {NULL, NULL, NULL},
     {MANY("{Topic} is {quality}. It is {place}.", "I like {topic}. It {habit}.", "{Topic} {habit}.",
           "I think {topic} is {quality}.", "It is {quality} and it {habit}."),
      MANY("I see. {advice}", "That happens. {advice}", "Being {feeling} is normal. {advice}",
           "It will pass. {advice}"),
      MANY("Hello. How can I help?", "Hi. I am fine.", "Good day. What is new?",
           "Hello. It is nice to meet you.", "I am well, thank you."),
      MANY("Yes. Start with the first part.", "Do a little of it {when}.", "I can help with {task}.",
           "First plan it, then do it.", "Do {task} step by step."),
      MANY("You could {deed}.", "I would {deed}.", "Maybe {deed} and then {deed}.",
           "It is a good day to {deed}."),
      MANY("You could talk to {person}.", "Ask {person} about it.", "Give {person} some time.",
           "I hope {person} is well soon.")},
     {NULL, NULL, NULL}},
    {"poetic",
     {"You speak in pictures of nature.", "You find beauty in small things.",
      "Your words move like a slow song."},
     {MANY("{Topic} {glow} like {image}.", "{Topic}, {quality} as {image}, {glow} {place}.",
           "Ah, {topic}: {image} that {glow} {place}.", "I hear {topic} and think of {image}."),
      MANY("To be {feeling} is {image} that {glow} within you.", "Your heart {glow}, {feeling} as {image}.",
           "Even a {feeling} soul {glow} like {image}."),
      MANY("You come like {image}, and the day {glow}.", "Welcome, as {image} welcomes the light.",
           "My day {glow} like {image}."),
      MANY("Let {task} unfold like {image}.", "{Task} {glow}, patient as {image}; begin where it is softest.",
           "Begin, as {image} begins, without haste."),
      MANY("Wander {when} where {image} {glow}.", "{When}, follow {image} until the sky {glow}.",
           "Let the hours drift like {image}."),
      MANY("{Person} {glow} like {image}; listen softly.", "Be {image} to {person}, and wait.",
           "Between you and {person} {glow} {image}.")},
     {MANY("So {glow} the meadow, so {glow} the sky.", "The trees know it, and the tide.",
           "It {glow} as the dusk {glow}."),
      MANY("How bright is {tiny}.", "See, even {tiny} holds the whole sky.", "There is a world in {tiny}."),
      MANY("Slowly, slowly, it {glow}.", "Softly it goes, and softly it stays.",
           "Hush, and it {glow}, and hush again.")}},
    {"caring",
     {"You care how the other person feels.", "You comfort before you advise.",
      "You offer your help gently."},
     {MANY("Oh {dear}, does {topic} make you feel safe?", "I am glad you told me about {topic}, {dear}.",
           "{Topic} can be so gentle, {dear}, like a warm hug."),
      MANY("Oh {dear}, I am so sorry that you feel {feeling}.", "It is all right to be {feeling}, {dear}.",
           "Come here, {dear}. Being {feeling} must be hard."),
      MANY("Hello, {dear}, I am so happy you are here.", "Welcome, {dear}. Are you warm and well?",
           "How lovely to see you, {dear}."),
      MANY("Of course, {dear}, we will do {task} together.", "Do not worry about {task}, {dear}.",
           "You are doing so well with {task}, {dear}."),
      MANY("Be kind to yourself {when}, {dear}.", "You have earned a rest {when}, {dear}.",
           "Do what warms your heart {when}, {dear}."),
      MANY("You are so good to think of {person}, {dear}.", "{Person} is lucky to have you, {dear}.",
           "Give {person} a warm hug from me, {dear}.")},
     {MANY("How does your heart feel?", "Tell me how you feel inside.", "Your feelings matter to me."),
      MANY("You are not alone in this.", "I am right here with you.", "Breathe, you are safe."),
      MANY("May I help you a little?", "Let me carry some of it.", "I will gladly help, if you like.")}},
    {"pirate",
     {"You talk like an old pirate.", "You measure all things by the sea.", "You call everybody matey."},
     {MANY("{Oath}! {Topic} be finer than {ship}!", "{Oath}, {topic} be {quality} as {ship}.",
           "{Oath}! I would trade {ship} for {topic}."),
      MANY("{Oath}! A {feeling} sailor needs {ship}.", "{Oath}, I be {feeling} too since I lost {ship}!",
           "{Oath}! Throw that {feeling} mood off {ship}."),
      MANY("{Oath}! Welcome aboard, mind {ship}!", "{Oath}! What brings ye to {ship}?",
           "{Oath}! A fine day to polish {ship}."),
      MANY("{Oath}! {Task} be easier than scrubbing {ship}.", "{Oath}, tie {task} to {ship} and heave!",
           "{Oath}! We do {task} before we hoist {ship}."),
      MANY("{Oath}! {When} we sail and guard {ship}!", "{Oath}, {when} ye shall dig for {ship}.",
           "{Oath}! Hoist {ship} {when}!"),
      MANY("{Oath}! Bring {person} aboard to see {ship}.", "{Oath}, {person} be worth more than {ship}.",
           "{Oath}! Share {ship} with {person}.")},
     {MANY("Yo ho ho!", "Aye, that be the truth!", "So says me parrot!"),
      MANY("The tide will tell.", "Deep as the seven seas, that be.", "Follow the salt and the stars."),
      MANY("Aye, matey!", "Mark me words, matey.", "Trust me, matey.")}},
    {"cheerful",
     {"You are glad about everything.", "You cheer people on.", "You see the sunny side first."},
     {MANY("{Shout}! {Topic} is so {super}!", "I love {topic}, it is {super}!",
           "{Shout}, {topic} again, how {super}!"),
      MANY("{Shout}, feeling {feeling} means something {super} comes next!",
           "A {feeling} day can still be {super}!", "{Shout}! You will feel {super} very soon!"),
      MANY("{Shout}! It is {super} to see you!", "Hello hello! What a {super} day!",
           "{Shout}! I feel {super}!"),
      MANY("{Shout}! {Task} will be {super} fun!", "You and {task}, what a {super} team!",
           "{Shout}, let us make {task} {super}!"),
      MANY("{Shout}! {When} will be {super}!", "Dance {when}, it is {super}!",
           "{Shout}, {when} let us {deed}, how {super}!"),
      MANY("{Shout}! {Person} is {super}!", "You and {person} are {super}!",
           "{Shout}, surprise {person}, it will be {super}!")},
     {MANY("Everything makes me smile!", "I am so glad!", "Life is such a treat!"),
      MANY("You can do it!", "Go, go, go!", "I believe in you!"),
      MANY("Look, the sun is out!", "The best is yet to come!", "There is always a bright side!")}},
    {"formal",
     {"You speak with great courtesy.", "You choose long and proper words.", "You never use a short form."},
     {MANY("Permit me to observe, {sir}, that {topic} is most {quality}.",
           "One must acknowledge, {sir}, the merits of {topic}.",
           "It is my considered opinion that {topic} deserves esteem."),
      MANY("I regret to learn, {sir}, that you are {feeling}.",
           "Permit me to express concern, {sir}, at your {feeling} state.",
           "It is understandable, {sir}, to be {feeling}."),
      MANY("I bid you welcome, {sir}.", "It is an honour to make your acquaintance, {sir}.",
           "I trust, {sir}, that this day finds you well."),
      MANY("I should be honoured, {sir}, to assist with {task}.",
           "Permit me to recommend a methodical approach to {task}.",
           "With regard to {task}, {sir}, diligence is advisable."),
      MANY("I would respectfully propose, {sir}, that you {deed}.",
           "Permit me to suggest an appropriate occupation {when}, {sir}.",
           "One might, {sir}, consider it proper to {deed} {when}."),
      MANY("Kindly convey my regards to {person}, {sir}.", "I hold {person} in the highest regard, {sir}.",
           "Permit me to commend your consideration for {person}.")},
     {MANY("I remain at your service.", "With the greatest respect.", "I am obliged to you."),
      MANY("This is beyond reasonable dispute.", "Such is the established understanding.",
           "Circumstances evidently require it."),
      MANY("I shall not hesitate to confirm it.", "It is not otherwise.",
           "I do not doubt it in the least.")}},
};

/* Stories: many choices, so their likelihood measures what the model knows of its world. */
static const char *const words_story_questions[] = {
    "Tell me a story about a {animal}.", "I want a story with a {animal}.",
    "Do you know a tale of a {animal}?", "A {animal} story, please.", NULL};
static const char *const words_stories[] = {
    "{Name} found {thing} {spot}. A {size} {animal} came and {name} {act} the {animal}. {ending}",
    "A {size} {animal} had {thing}. {Name} saw it {spot} and {act} {name2}. {ending}",
    "{Name} and {name2} went out. {Spot} they met a {size} {animal} with {thing}. {ending}",
    "Once a {animal} lost {thing} {spot}. {Name} found it and {act} {name2}. {ending}", NULL};

#endif
