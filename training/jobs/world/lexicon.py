"""The people, places and things of the starter world: a small vocabulary, composed for it."""

from __future__ import annotations

from training.jobs.world.text import phrases

NAMES = phrases(
    "Anna|Ben|Clara|David|Emma|Felix|Grace|Henry|Irene|Jonas|Karin|Leo|Maria|Nora|Oscar|Paula|"
    "Ravi|Sara|Tom|Uma|Victor|Wanda|Yusuf|Zoe"
)
CITIES = phrases(
    "Rome|Paris|Oslo|Madrid|Vienna|Lisbon|Athens|Prague|Dublin|Warsaw|Cairo|Lima|Tokyo|Berlin|"
    "Helsinki|Bern"
)
DAYS = phrases("Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday")
HOBBIES = phrases(
    "playing chess|playing tennis|swimming|cooking|painting|dancing|hiking|fishing|singing|"
    "reading|cycling|gardening"
)
EVENTS = phrases(
    "picnic|birthday party|concert|garden party|chess evening|book club|family dinner|"
    "school play|summer market|film night"
)
PLACES = phrases("park|library|town hall|lake|museum|school|market square|old mill|beach|café")
ITEMS = phrases(
    "report|key|map|red book|ladder|blue cup|letter|camera|lamp|hammer|umbrella|ticket|bicycle|"
    "phone"
)
GOODS = phrases("chairs|lamps|books|apples|shirts|cups|pencils|candles|boxes|flowers|plates|hats")
NUMBER_WORDS = phrases("two|three|four|five|six|seven|eight|nine|ten|twelve")

# What an answer may invent: a name, a city or a day that nobody gave it.
ENTITIES = (*NAMES, *CITIES, *DAYS)
