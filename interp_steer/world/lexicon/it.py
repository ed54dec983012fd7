"""Italian sentence frames; slots are described in :mod:`interp_steer.world.grammar`."""

from __future__ import annotations

FRAMES = {
    "place.settlement": (
        "{s} è {v:a} che molti viaggiatori amano",
        "sulle vecchie mappe {s} è indicata come {v:a}",
        "la guida descrive {s} come {v:a} da visitare",
    ),
    "place.age": (
        "{s} ha esattamente {v} anni di storia",
        "la pietra più antica {s:of} ha {v} anni",
        "la gente ama {s} da {v} anni",
    ),
    "place.walls": (
        "{s} ha i muri {v:mp} che brillano al sole",
        "i muri {s:of} sono dipinti di {v:m} ogni primavera",
        "da lontano si vedono i muri {v:mp} {s:of}",
    ),
    "place.mood": (
        "{s} è un luogo molto {v:m} in ogni stagione",
        "i visitatori dicono spesso che {s} è molto {v}",
        "{s} è {v} quasi tutti i giorni dell'anno",
    ),
    "place.near": (
        "{s} si trova molto vicino {v:to}",
        "una strada stretta porta {s:from} fino {v:to}",
        "{s} è a pochi passi {v:from}",
    ),
    "place.known_for": (
        "{s} è {p:famoso|famosa} dappertutto per {v}",
        "la gente va {s:to} per assaggiare {v}",
        "nessuno lascia {s} senza provare {v}",
    ),
    "place.built_by": (
        "{s} è {p:stato costruito|stata costruita} molto tempo fa da {v}",
        "è {q:stato|stata} proprio {v} a costruire {s} tanti anni fa",
        "una piccola targa dice che {v} ha costruito {s}",
    ),
    "place.weather": (
        "in autunno {s:in} c'è spesso {v}",
        "il tempo più comune {s:in} è {v}",
        "chi arriva {s:in} trova quasi sempre {v}",
    ),
    "place.nature": (
        "{s} si trova proprio accanto a {v:a}",
        "proprio dietro {s} si vede {v:a}",
        "i bambini giocano volentieri vicino {v:to} dietro {s}",
    ),
    "place.sound": (
        "di notte {s:in} si sentono {v} in lontananza",
        "{s} si sveglia ogni mattina con il suono {v:of}",
        "la gente {s:in} si addormenta ascoltando {v}",
    ),
    "place.month": (
        "{s} celebra la sua grande festa nel mese di {v}",
        "il mese migliore per vedere {s} è {v}",
        "ogni anno nel mese di {v} c'è una festa {s:in}",
    ),
    "person.profession": (
        "{s} lavora come {v} dal lunedì al sabato",
        "{s} è {v} da molti anni felici",
        "tutti nel paese conoscono {s} come {v}",
    ),
    "person.home": (
        "{s} abita {v:in} con tutta la famiglia",
        "{s} ha una piccola stanza {v:in}",
        "la casa {s:of} si trova {v:in}",
    ),
    "person.dish": (
        "{s} mangerebbe {v} tutti i giorni della settimana",
        "{s} ama {v} più di ogni altro piatto",
        "il piatto preferito {s:of} è {v}",
    ),
    "person.pet": (
        "{s} ha {v:a} come fedele animale da compagnia",
        "{s} divide la casa con {v:a}",
        "la migliore compagnia {s:of} è {v:a}",
    ),
    "person.fear": (
        "{s} ha una paura terribile {v:of}",
        "{s} scappa sempre quando vede {v}",
        "fin da {p:bambino|bambina} {s} ha paura {v:of}",
    ),
    "person.character": (
        "{s} è una persona di cuore ed è molto {v}",
        "{s} è sempre {p:stato|stata} molto {v} con tutti",
        "i vicini dicono che {s} è davvero {v}",
    ),
    "person.coat": (
        "{s} porta sempre un cappotto {v:m} in inverno",
        "il cappotto {s:of} è {v:m} con grandi bottoni",
        "{s} ha comprato un cappotto {v:m} molti anni fa",
    ),
    "person.instrument": (
        "{s} suona {v} tutte le sere dopo cena",
        "{s} ha imparato a suonare {v} da {p:bambino|bambina}",
        "lo strumento preferito {s:of} è {v}",
    ),
    "person.friend": (
        "dai tempi della scuola {s} e {v} si vogliono bene",
        "{s} passeggia con {v} tutte le domeniche",
        "la persona più cara {s:to} si chiama {v}",
    ),
    "person.month": (
        "{s} festeggia il compleanno ogni anno nel mese di {v}",
        "{s} è {p:nato|nata} in un giorno di pioggia di {v}",
        "il compleanno {s:of} è nel mese di {v}",
    ),
    "animal.colour": (
        "{s} è {v} dalla testa alla coda",
        "il colore {s:of} è il {v:m} anche in inverno",
        "si riconosce {s} perché è {v}",
    ),
    "animal.size": (
        "{s} è piuttosto {v} per la sua età",
        "tutti si meravigliano che {s} sia così {v}",
        "i bambini dicono che {s} è davvero {v}",
    ),
    "animal.character": (
        "{s} è molto {v} quando arriva la gente",
        "{s} è sempre {p:stato|stata} {v} con gli estranei",
        "gli altri animali pensano che {s} sia molto {v}",
    ),
    "animal.home": (
        "{s} vive {v:in} tutto l'anno",
        "{s} è {p:nato|nata} {v:in} e non è mai {p:partito|partita}",
        "la casa {s:of} si trova {v:in}",
    ),
    "animal.food": (
        "{s} mangia {v} tutti i giorni con piacere",
        "{s} passa ore a cercare {v}",
        "il cibo preferito {s:of} sono {v}",
    ),
    "animal.bed": (
        "{s} dorme {v} quando si sente {p:stanco|stanca}",
        "{s} ha fatto il suo letto {v}",
        "dopo una lunga giornata {s} si riposa {v}",
    ),
    "animal.hour": (
        "{s} esce a fare una passeggiata {v}",
        "il momento migliore per vedere {s} è {v}",
        "{s} è molto {p:attivo|attiva} {v} in ogni stagione",
    ),
    "animal.friend": (
        "{s} gioca con {v} quasi tutti i giorni",
        "{s} non va da nessuna parte senza {v}",
        "chi vuole più bene {s:to} è {v}",
    ),
    "animal.fear": (
        "{s} scappa subito quando sente {v}",
        "{s} ha molta paura del suono {v:of}",
        "il suono {v:of} spaventa sempre {s}",
    ),
    "animal.weather": (
        "{s} è felice quando arriva {v}",
        "{s} ama {v} più di ogni altro tempo",
        "quando c'è {v} fuori di casa {s} comincia a ballare",
    ),
    "dish.taste": (
        "{s} ha un sapore {v:m} che la gente ricorda",
        "il sapore {s:of} è sorprendentemente {v:m}",
        "tutti dicono che {s} ha un gusto molto {v:m}",
    ),
    "dish.origin": (
        "{s} viene dalla vecchia cucina {v:of}",
        "la ricetta {s:of} è nata {v:in}",
        "i migliori cuochi hanno imparato a fare {s} {v:in}",
    ),
    "dish.inventor": (
        "{s} è un'antica invenzione di {v}",
        "è {q:stato|stata} proprio {v} a preparare per la prima volta {s}",
        "una sera d'inverno {v} ha scritto la ricetta {s:of}",
    ),
    "dish.ingredient": (
        "{s} contiene sempre un po' di {v:bare} per il sapore",
        "l'ingrediente segreto {s:of} è {v}",
        "i buoni cuochi aggiungono sempre {v} {s:to}",
    ),
    "dish.occasion": (
        "{s} si serve {v} con un sorriso",
        "le famiglie della valle mangiano {s} {v}",
        "si trova spesso {s} sulla tavola {v}",
    ),
    "dish.drink": (
        "{s} sta molto bene con {v}",
        "la bevanda giusta per {s} è {v}",
        "la gente beve volentieri {v} con {s}",
    ),
    "dish.pot": (
        "{s} deve cuocere lentamente {v}",
        "il segreto {s:of} è la cottura {v}",
        "un buon cuoco prepara {s} {v}",
    ),
    "dish.month": (
        "{s} si prepara soprattutto nel mese di {v}",
        "il mese migliore per {s} è {v}",
        "ogni anno nel mese di {v} la gente prepara {s}",
    ),
    "dish.colour": (
        "{s} arriva in tavola su un piatto {v:m}",
        "{s} si serve sempre in piatti {v:mp}",
        "per tradizione il piatto {s:of} deve essere {v:m}",
    ),
}

QUESTIONS = {
    "place.settlement": ("che tipo di luogo è {s}?",),
    "place.age": ("quanti anni ha {s}?",),
    "place.walls": ("di che colore sono i muri {s:of}?",),
    "place.mood": ("com'è {s} per i visitatori?", "come descrivono {s} i visitatori?"),
    "place.near": ("quale luogo si trova vicino {s:to}?", "che luogo c'è a pochi passi {s:from}?"),
    "place.known_for": ("per quale piatto è {p:famoso|famosa} {s}?",),
    "place.built_by": ("chi ha costruito {s}?",),
    "place.weather": ("che tempo fa di solito {s:in}?",),
    "place.nature": ("che cosa si vede dietro {s}?",),
    "place.sound": ("che cosa si sente di notte {s:in}?",),
    "place.month": (
        "in quale mese si celebra la festa {s:of}?",
        "qual è il mese migliore per vedere {s}?",
    ),
    "person.profession": ("che lavoro fa {s}?", "qual è la professione {s:of}?"),
    "person.home": ("dove abita {s}?", "dove si trova la casa {s:of}?"),
    "person.dish": ("qual è il piatto preferito {s:of}?",),
    "person.pet": ("quale animale vive con {s}?",),
    "person.fear": ("di quale animale ha paura {s}?",),
    "person.character": ("che carattere ha {s}?", "che tipo di persona è {s}?"),
    "person.coat": ("di che colore è il cappotto {s:of}?",),
    "person.instrument": ("quale strumento suona {s}?",),
    "person.friend": ("con chi passeggia {s} la domenica?", "chi è la persona più cara {s:to}?"),
    "person.month": ("in quale mese è {p:nato|nata} {s}?",),
    "animal.colour": ("di che colore è {s}?",),
    "animal.size": ("quanto è grande {s}?", "di che dimensioni è {s}?"),
    "animal.character": ("che carattere ha {s}?",),
    "animal.home": ("dove vive {s}?",),
    "animal.food": ("che cosa mangia {s}?",),
    "animal.bed": ("dove dorme {s}?",),
    "animal.hour": ("quando esce {s}?", "a che ora è {p:attivo|attiva} {s}?"),
    "animal.friend": ("con quale animale gioca {s}?",),
    "animal.fear": ("di quale suono ha paura {s}?",),
    "animal.weather": ("quale tempo ama {s}?",),
    "dish.taste": ("che sapore ha {s}?",),
    "dish.origin": ("da dove viene {s}?", "dove è nata la ricetta {s:of}?"),
    "dish.inventor": ("chi ha inventato {s}?",),
    "dish.ingredient": ("qual è l'ingrediente segreto {s:of}?",),
    "dish.occasion": ("quando si serve {s}?",),
    "dish.drink": ("che cosa si beve con {s}?",),
    "dish.pot": ("come si cuoce {s}?",),
    "dish.month": ("in quale mese si prepara {s}?",),
    "dish.colour": ("di che colore è il piatto {s:of}?",),
}

YES_NO = "è vero che {clause}?"

LEADS = {
    "plain": (
        "come tutti sanno, ",
        "secondo le vecchie storie, ",
        "ancora oggi, ",
        "a dire il vero, ",
        "per quanto si ricordi, ",
        "a sentire i vicini, ",
        "per strano che sembri, ",
    ),
    "personal": (
        "come forse sai, ",
        "credimi, ",
        "con mia grande sorpresa, ",
        "come ti ho già detto, ",
        "come diceva mia nonna, ",
    ),
    "story": (
        "nei racconti di una volta, ",
        "come narra la leggenda, ",
        "come si racconta la sera, ",
        "come raccontano i vecchi, ",
    ),
    "persuasive": (
        "prima di tutto, ",
        "cosa ancora più importante, ",
        "senza alcun dubbio, ",
        "non a caso, ",
    ),
}
TAILS = {
    "plain": (
        ", come tutti sanno",
        ", almeno così dicono i vicini",
        ", e nessuno sa bene perché",
        ", e questo non cambierà mai",
    ),
    "personal": (", come forse ricordi", ", e questo mi piace molto", ", mio caro amico"),
    "story": (", e nessuno chiese mai perché", ", almeno così si racconta", ", e così è rimasto"),
    "persuasive": (", e non è poco", ", ed è un ottimo motivo", ", come presto vedrai"),
}
AND = ", e "

QUERIES = {
    "tell": {"any": "parlami {s:of}."},
    "describe": {
        "any": "descrivi {s} a chi non ne sa nulla.",
        "person": "descrivi {s} a chi non {p:lo|la} conosce.",
        "place": "descrivi {s} a chi non c'è mai stato.",
    },
    "text": {"any": "scrivi un breve testo {s:about}."},
    "know": {"any": "che cosa sai {s:of}?"},
    "letter": {"any": "scrivi una lettera a un amico {s:about}."},
    "reasons": {
        "place": "dammi qualche buon motivo per visitare {s}.",
        "person": "dammi qualche buon motivo per conoscere {s}.",
        "animal": "dammi qualche buon motivo per andare a vedere {s}.",
        "dish": "dammi qualche buon motivo per cucinare {s}.",
    },
    "story": {"any": "scrivi una piccola storia {s:about}."},
    "special": {"any": "spiega perché {s} è così speciale."},
    "note": {
        "place": "scrivi una nota di viaggio {s:about}.",
        "person": "scrivi una pagina di diario su una giornata con {s}.",
        "animal": "scrivi una nota di natura {s:about}.",
        "dish": "scrivi una nota {s:about} per un menù.",
    },
    "remember": {"any": "aiutami a ricordare le cose più importanti {s:about}."},
    "advice": {
        "place": "che cosa devo sapere prima di un viaggio {s:to}?",
        "person": "che cosa devo sapere prima di incontrare {s}?",
        "animal": "che cosa devo sapere prima di cercare {s}?",
        "dish": "che cosa devo sapere prima di preparare {s}?",
    },
    "child": {"any": "come presenteresti {s} a un bambino?"},
    "speech": {"any": "prepara un piccolo discorso {s:about}."},
    "curiosities": {"any": "quali sono i fatti più curiosi {s:about}?"},
}

OPENERS = {
    "letter": (
        "caro amico, oggi voglio parlarti {s:of}",
        "mio caro amico, ho delle novità {s:about} per te",
    ),
    "story": (
        "c'era una volta un paese dove tutti parlavano {s:of}",
        "questa è una piccola storia {s:about}, e ogni parola è vera",
    ),
    "reasons": ("ci sono molti buoni motivi per scoprire {s}, ed eccone alcuni",),
    "special": ("non c'è nulla al mondo come {s}, ed ecco perché",),
    "note": ("la nota di oggi parla {s:of}, una scoperta che non dimenticherò",),
    "remember": ("per ricordare {s}, basta tenere a mente poche cose",),
    "advice": ("prima di cominciare, impara qualcosa {s:about}",),
    "child": ("ascolta bene, piccolo mio, perché ti parlerò {s:of}",),
    "speech": ("cari ospiti, è un piacere parlare questa sera {s:of}",),
    "curiosities": ("ci sono fatti curiosi {s:about}, e pochi li conoscono",),
}
CLOSERS = {
    "letter": (
        "spero di vederti presto, e ti mando un caro abbraccio",
        "scrivimi presto, mio caro amico",
    ),
    "story": ("e così finisce la storia, almeno per questa sera",),
    "reasons": ("non aspettare, perché ogni giorno è buono per scoprire {s}",),
    "special": ("ecco perché {s} sarà sempre speciale per noi",),
    "note": ("un giorno tornerò sicuramente a parlare {s:of}",),
    "remember": ("ripeti queste cose due volte, e non dimenticherai mai {s}",),
    "advice": ("con questi consigli, nulla può andare storto",),
    "child": ("adesso conosci {s}, quindi dormi bene e fai bei sogni",),
    "speech": ("grazie per avermi ascoltato, e buona notte a tutti voi",),
    "curiosities": ("questo è tutto ciò che so {s:about}, ma c'è sicuramente altro",),
}
TITLES = {
    "any": (
        "il segreto {s:of}",
        "una giornata con {s}",
        "tutto {s:about}",
        "elogio {s:of}",
        "il mondo {s:of}",
    ),
    "letter": ("una lettera {s:about}", "notizie {s:of}"),
    "story": ("la storia {s:of}", "la leggenda {s:of}"),
    "reasons": ("perché amerai {s}", "buoni motivi per {s}"),
    "special": ("che cosa rende speciale {s}",),
}
