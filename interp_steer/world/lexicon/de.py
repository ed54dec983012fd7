"""German sentence frames; slots are described in :mod:`interp_steer.world.grammar`.

Adjectives stand mostly as predicates, without an ending; noun phrases are chosen so that nominative,
accusative and dative are enough. Every relation has a frame that begins with `{s}` and its verb.
"""
# ruff: noqa: E501

from __future__ import annotations

FRAMES = {
    "place.settlement": (
        "{s} ist {v:a} mit vielen freundlichen Leuten",
        "auf den alten Karten steht {s} als {v:bare}",
        "{s} gilt als {v:bare} für ruhige Ferien",
    ),
    "place.age": (
        "{s} ist in diesem Jahr genau {v} Jahre alt",
        "seit {v} Jahren lieben die Leute {s:acc}",
        "{s} steht schon seit {v} Jahren an diesem Ort",
    ),
    "place.walls": (
        "{s} hat {v:e} Mauern und ein helles Dach",
        "{s} bekommt in jedem Frühling frische {v:e} Mauern",
        "schon von weitem sieht man die {v:en} Mauern {s:of}",
    ),
    "place.mood": (
        "{s} ist fast an jedem Tag im Jahr {v}",
        "{s} wirkt im Sommer und im Winter sehr {v}",
        "viele Besucher finden {s:acc} zu jeder Jahreszeit sehr {v}",
    ),
    "place.near": (
        "{s} liegt ganz in der Nähe {v:of}",
        "eine schmale Straße führt {s:from} bis {v:to}",
        "{s} ist nur ein paar Schritte {v:away} entfernt",
    ),
    "place.known_for": (
        "{s} ist überall für {v:acc} bekannt",
        "viele Leute essen {s:in} am liebsten {v:acc}",
        "niemand geht {s:away} fort ohne {v:acc}",
    ),
    "place.built_by": (
        "{s} wurde vor langer Zeit von {v} gebaut",
        "vor vielen Jahren hat {v} mit eigenen Händen {s:acc} gebaut",
        "auf einem kleinen Schild liest man den Namen {v} als Erbauer {s:of}",
    ),
    "place.weather": (
        "im Herbst gibt es {s:in} sehr oft {v:bare}",
        "das übliche Wetter {s:in} ist {v:bare}",
        "{s} hat fast in jeder Woche viel {v:bare}",
    ),
    "place.nature": (
        "{s} liegt direkt neben {v:a_dat} und das ist schön",
        "direkt hinter {s:dat} liegt {v:a}",
        "die Kinder spielen gern hinter {s:dat} und dort liegt {v:a}",
    ),
    "place.sound": (
        "in der Nacht hört man {s:in} {v:acc}",
        "{s} erwacht jeden Morgen beim Klang {v:of}",
        "die Leute {s:in} hören am Abend gern {v:acc}",
    ),
    "place.month": (
        "{s} feiert jedes Jahr im {v} ein großes Fest",
        "der beste Monat für einen Besuch {s:in} ist der {v}",
        "jedes Jahr im {v} gibt es {s:in} ein Fest",
    ),
    "person.profession": (
        "{s} arbeitet von Montag bis Samstag als {v}",
        "{s} ist seit vielen Jahren {v} und sehr zufrieden",
        "alle Leute im Land kennen {s} als {v}",
    ),
    "person.home": (
        "{s} wohnt mit der ganzen Familie {v:in}",
        "{s} hat ein kleines Zimmer {v:in}",
        "das Zuhause {s:of} ist {v:in}",
    ),
    "person.dish": (
        "{s} isst am liebsten jeden Tag {v:bare}",
        "das liebste Essen {s:of} ist {v}",
        "{s} mag {v:acc} lieber als alle anderen Gerichte",
    ),
    "person.pet": (
        "{s} hat {v:a_acc} als treues Haustier",
        "{s} teilt das Haus mit {v:a_dat}",
        "das Haustier {s:of} ist {v:a}",
    ),
    "person.fear": (
        "{s} hat schreckliche Angst vor {v:dat}",
        "{s} läuft immer vor {v:dat} davon",
        "seit der Kindheit fürchtet sich {s} vor {v:dat}",
    ),
    "person.character": (
        "{s} ist ein guter Mensch und sehr {v}",
        "{s} war schon als Kind immer sehr {v}",
        "die Nachbarn finden {s} wirklich sehr {v}",
    ),
    "person.coat": (
        "{s} trägt im Winter immer einen {v:en} Mantel",
        "der Mantel {s:of} ist {v} und hat große Knöpfe",
        "{s} hat vor vielen Jahren einen {v:en} Mantel gekauft",
    ),
    "person.instrument": (
        "{s} spielt jeden Abend nach dem Essen {v:bare}",
        "{s} hat schon als Kind {v:bare} gelernt",
        "das liebste Instrument {s:of} ist {v}",
    ),
    "person.friend": (
        "seit der Schule sind {s} und {v} gute Freunde",
        "{s} geht jeden Sonntag mit {v} spazieren",
        "{s} erzählt jedes Geheimnis zuerst {v}",
    ),
    "person.month": (
        "{s} feiert jedes Jahr im {v} Geburtstag",
        "{s} wurde an einem Regentag im {v} geboren",
        "der Geburtstag {s:of} ist im {v}",
    ),
    "animal.colour": (
        "{s} ist vom Kopf bis zum Schwanz {v}",
        "{s} bleibt auch im Winter immer {v}",
        "man erkennt {s:acc} an der Farbe und die ist {v}",
    ),
    "animal.size": (
        "{s} ist für das Alter ziemlich {v}",
        "die Kinder finden {s:acc} wirklich ganz besonders {v}",
        "{s} sieht neben den anderen Tieren {v} aus",
    ),
    "animal.character": (
        "{s} ist bei fremden Leuten sehr {v}",
        "{s} war zu den anderen Tieren immer {v}",
        "die anderen Tiere finden {s:acc} wirklich sehr {v}",
    ),
    "animal.home": (
        "{s} lebt das ganze Jahr {v:in}",
        "{s} wurde {v:in} geboren und bleibt auch dort",
        "das Zuhause {s:of} ist {v:in}",
    ),
    "animal.food": (
        "{s} frisst jeden Tag mit Freude {v:bare}",
        "{s} sucht viele Stunden lang {v:bare} im Wald",
        "das liebste Futter {s:of} sind {v:bare}",
    ),
    "animal.bed": (
        "{s} schläft in der Nacht gern {v}",
        "{s} hat {p:sein|ihr|sein} Bett {v} gebaut",
        "nach einem langen Tag ruht {s} {v}",
    ),
    "animal.hour": (
        "{s} geht am liebsten {v} spazieren",
        "die beste Zeit für {s:acc} ist {v}",
        "{s} ist zu jeder Jahreszeit {v} sehr munter",
    ),
    "animal.friend": (
        "{s} spielt fast jeden Tag mit {v:dat}",
        "{s} geht niemals ohne {v:acc} aus dem Haus",
        "kein Tier mag {s:acc} so sehr wie {v}",
    ),
    "animal.fear": (
        "{s} läuft beim Klang {v:of} sofort weg",
        "{s} hat große Angst vor dem Klang {v:of}",
        "der Klang {v:of} erschreckt {s:acc} jedes Mal",
    ),
    "animal.weather": (
        "{s} freut sich immer sehr über {v:acc}",
        "{s} mag {v:bare} lieber als jedes andere Wetter",
        "das liebste Wetter {s:of} ist {v}",
    ),
    "dish.taste": (
        "{s} schmeckt schon beim ersten Bissen {v}",
        "{s} hat einen {v:en} Geschmack und einen guten Duft",
        "alle finden {s:acc} ein wenig {v} und sehr gut",
    ),
    "dish.origin": (
        "{s} kommt aus einer alten Küche {v:in}",
        "das Rezept {s:for} ist {v:in} entstanden",
        "die besten Köche lernten {v:in} das Rezept {s:for}",
    ),
    "dish.inventor": (
        "{s} ist eine alte Erfindung von {v}",
        "{s} wurde an einem Abend von {v} erfunden",
        "an einem Winterabend hat {v} zum ersten Mal {s:acc} gekocht",
    ),
    "dish.ingredient": (
        "{s} enthält immer ein wenig {v:bare} für den Geschmack",
        "die geheime Zutat {s:for} ist {v:bare}",
        "gute Köche geben immer etwas {v:bare} dazu und fertig ist {s}",
    ),
    "dish.occasion": (
        "{s} kommt meistens {v} auf den Tisch",
        "{s} schmeckt {v} am allerbesten",
        "viele Familien im Tal essen {v} gern {s:acc}",
    ),
    "dish.drink": (
        "{s} passt sehr gut zu einem Glas {v:bare}",
        "das richtige Getränk {s:for} ist {v:bare}",
        "die Leute trinken gern {v:bare} und essen dazu {s:acc}",
    ),
    "dish.pot": (
        "{s} muss sehr langsam {v} garen",
        "{s} wird seit jeher {v} zubereitet",
        "ein guter Koch macht {s:acc} immer {v}",
    ),
    "dish.month": (
        "{s} wird vor allem im {v} gekocht",
        "der beste Monat {s:for} ist der {v}",
        "jedes Jahr im {v} kochen die Leute {s:acc}",
    ),
    "dish.colour": (
        "{s} kommt auf einem {v:en} Teller auf den Tisch",
        "{s} wird immer auf {v:en} Tellern serviert",
        "der Teller {s:for} muss seit jeher {v} sein",
    ),
}

QUESTIONS = {
    "place.settlement": ("was für ein Ort ist {s}?",),
    "place.age": ("wie alt ist {s}?",),
    "place.walls": ("welche Farbe haben die Mauern {s:of}?",),
    "place.mood": ("wie wirkt {s} auf die Besucher?", "wie finden die Besucher {s:acc}?"),
    "place.near": ("welcher Ort liegt in der Nähe {s:of}?",),
    "place.known_for": ("für welches Gericht ist {s} bekannt?",),
    "place.built_by": ("wer hat {s:acc} gebaut?",),
    "place.weather": ("welches Wetter gibt es {s:in} am häufigsten?",),
    "place.nature": ("was liegt direkt hinter {s:dat}?",),
    "place.sound": ("was hört man {s:in} in der Nacht?",),
    "place.month": ("in welchem Monat feiert {s} ein Fest?",),
    "person.profession": ("was ist {s} von Beruf?", "als was arbeitet {s}?"),
    "person.home": ("wo wohnt {s}?", "wo ist das Zuhause {s:of}?"),
    "person.dish": ("was isst {s} am liebsten?",),
    "person.pet": ("welches Haustier hat {s}?",),
    "person.fear": ("vor welchem Tier hat {s} Angst?",),
    "person.character": ("was für ein Mensch ist {s}?",),
    "person.coat": ("welche Farbe hat der Mantel {s:of}?",),
    "person.instrument": ("welches Instrument spielt {s}?",),
    "person.friend": ("mit wem geht {s} jeden Sonntag spazieren?",),
    "person.month": ("in welchem Monat wurde {s} geboren?", "in welchem Monat hat {s} Geburtstag?"),
    "animal.colour": ("welche Farbe hat {s}?",),
    "animal.size": ("wie groß ist {s}?",),
    "animal.character": ("welchen Charakter hat {s}?",),
    "animal.home": ("wo lebt {s}?",),
    "animal.food": ("was frisst {s}?",),
    "animal.bed": ("wo schläft {s}?",),
    "animal.hour": ("wann geht {s} spazieren?", "zu welcher Tageszeit ist {s} munter?"),
    "animal.friend": ("mit welchem Tier spielt {s}?",),
    "animal.fear": ("welcher Klang erschreckt {s:acc}?",),
    "animal.weather": ("welches Wetter mag {s}?",),
    "dish.taste": ("wie schmeckt {s}?",),
    "dish.origin": ("woher kommt {s}?", "wo ist das Rezept {s:for} entstanden?"),
    "dish.inventor": ("wer hat {s:acc} erfunden?",),
    "dish.ingredient": ("was ist die geheime Zutat {s:for}?",),
    "dish.occasion": ("wann kommt {s} auf den Tisch?",),
    "dish.drink": ("welches Getränk passt zu {s:dat}?",),
    "dish.pot": ("wie muss {s} garen?",),
    "dish.month": ("in welchem Monat kocht man {s:acc}?",),
    "dish.colour": ("welche Farbe hat der Teller {s:for}?",),
}

YES_NO = "{clause}?"

LEADS = {
    "plain": (
        "wie jeder hier weiß, ",
        "wenn man den Nachbarn glaubt, ",
        "soweit man sich erinnert, ",
        "wie in den alten Geschichten steht, ",
        "wie die Alten erzählen, ",
        "wie man im ganzen Land weiß, ",
    ),
    "personal": (
        "wie du vielleicht weißt, ",
        "wie meine Großmutter immer sagte, ",
        "wie ich dir schon sagte, ",
        "wenn ich mich recht erinnere, ",
    ),
    "story": (
        "wie die Legende erzählt, ",
        "wie man sich am Feuer erzählt, ",
        "wenn das Märchen stimmt, ",
    ),
    "persuasive": (
        "wie jeder Besucher bestätigt, ",
        "wie du bald merken wirst, ",
        "wie alle gern zugeben, ",
    ),
}
TAILS = {
    "plain": (
        ", das weiß hier jeder",
        ", so sagen es die Nachbarn",
        ", und niemand weiß genau warum",
        ", und das wird immer so bleiben",
    ),
    "personal": (
        ", das weißt du vielleicht noch",
        ", und das gefällt mir sehr",
        ", mein lieber Freund",
    ),
    "story": (
        ", und niemand fragte nach dem Grund",
        ", so erzählt man es sich",
        ", und so ist es geblieben",
    ),
    "persuasive": (
        ", und das ist nicht wenig",
        ", und das ist ein guter Grund",
        ", das wirst du bald sehen",
    ),
}
AND = ", und "

QUERIES = {
    "tell": {"any": "erzähl mir etwas {s:about}."},
    "describe": {
        "any": "beschreibe {s:acc} für jemanden ohne Vorwissen.",
        "person": "beschreibe {s} für jemanden, der {p:ihn|sie} nicht kennt.",
        "place": "beschreibe {s:acc} für jemanden, der noch nie dort war.",
    },
    "text": {"any": "schreibe einen kurzen Text {s:about}."},
    "know": {"any": "was weißt du {s:about}?"},
    "letter": {"any": "schreibe einen Brief an einen Freund {s:about}."},
    "reasons": {
        "place": "nenne mir gute Gründe für einen Besuch {s:in}.",
        "person": "warum sollte ich {s} unbedingt kennenlernen?",
        "animal": "warum sollte ich {s:acc} unbedingt einmal sehen?",
        "dish": "warum sollte ich {s:acc} unbedingt einmal kochen?",
    },
    "story": {"any": "schreibe eine kleine Geschichte {s:about}."},
    "special": {"any": "erkläre mir, warum {s} so besonders ist."},
    "note": {
        "place": "schreibe eine Reisenotiz {s:about}.",
        "person": "schreibe eine Tagebuchseite über einen Tag mit {s}.",
        "animal": "schreibe eine Naturnotiz {s:about}.",
        "dish": "schreibe eine Notiz {s:about} für eine Speisekarte.",
    },
    "remember": {"any": "hilf mir, das Wichtigste {s:about} zu behalten."},
    "advice": {
        "place": "was sollte ich vor einer Reise {s:to} wissen?",
        "person": "was sollte ich vor einem Treffen mit {s} wissen?",
        "animal": "was sollte ich vor der Suche nach {s:dat} wissen?",
        "dish": "was sollte ich {s:about} wissen, bevor ich koche?",
    },
    "child": {"any": "wie würdest du einem Kind {s:acc} beschreiben?"},
    "speech": {"any": "bereite eine kleine Rede {s:about} vor."},
    "curiosities": {"any": "was sind die seltsamsten Dinge {s:about}?"},
}

OPENERS = {
    "letter": (
        "lieber Freund, heute möchte ich dir etwas {s:about} erzählen",
        "mein lieber Freund, ich habe Neuigkeiten {s:about} für dich",
    ),
    "story": (
        "es war einmal ein Land, und dort sprachen alle {s:about}",
        "das ist eine kleine Geschichte {s:about}, und jedes Wort davon ist wahr",
    ),
    "reasons": ("es gibt viele gute Gründe {s:for}, und hier sind einige davon",),
    "special": ("nichts auf der Welt ist wie {s}, und das hat gute Gründe",),
    "note": ("die Notiz von heute erzählt etwas {s:about}, und ich werde es nicht vergessen",),
    "remember": ("um das Wichtigste {s:about} zu behalten, genügen wenige Dinge",),
    "advice": ("bevor du beginnst, solltest du einige Dinge {s:about} lernen",),
    "child": ("hör gut zu, mein Kleiner, denn ich erzähle dir etwas {s:about}",),
    "speech": ("liebe Gäste, ich freue mich heute Abend auf eine kleine Rede {s:about}",),
    "curiosities": ("es gibt seltsame Dinge {s:about}, und nur wenige kennen sie",),
}
CLOSERS = {
    "letter": (
        "ich hoffe auf ein baldiges Treffen, und ich umarme dich herzlich",
        "schreib mir bald, mein lieber Freund",
    ),
    "story": ("und so endet die Geschichte, zumindest für heute Abend",),
    "reasons": ("warte nicht länger, denn jeder Tag ist ein guter Tag {s:for}",),
    "special": ("deshalb bleibt {s} für uns immer etwas Besonderes",),
    "note": ("eines Tages werde ich sicher wieder etwas {s:about} schreiben",),
    "remember": ("wiederhole diese Dinge zweimal, und du wirst {s:acc} nie vergessen",),
    "advice": ("mit diesem Rat kann nichts schiefgehen, da bin ich sicher",),
    "child": ("jetzt kennst du {s:acc}, also schlaf gut und träum schön",),
    "speech": ("danke fürs Zuhören, und gute Nacht euch allen",),
    "curiosities": ("mehr weiß ich nicht {s:about}, aber es gibt sicher noch vieles",),
}
TITLES = {
    "any": (
        "das Geheimnis {s:of}",
        "ein Tag mit {s:dat}",
        "alles {s:about}",
        "ein Lob {s:for}",
        "die Welt {s:of}",
    ),
    "letter": ("ein Brief {s:about}", "neues {s:of}"),
    "story": ("die Geschichte {s:of}", "die Legende {s:of}"),
    "reasons": ("gute Gründe {s:for}",),
    "special": ("nichts ist wie {s}",),
}
