"""French sentence frames; slots are described in :mod:`interp_steer.world.grammar`."""

from __future__ import annotations

FRAMES = {
    "place.settlement": (
        "depuis toujours {s} est {v:a} que les voyageurs adorent",
        "sur les vieilles cartes {s} est {v:a}",
        "le guide parle {s:of} comme {q:d'un|d'une} {v:bare} à visiter",
    ),
    "place.age": (
        "{s} a exactement {v} ans cette année",
        "la plus vieille pierre {s:of} a {v} ans",
        "les gens aiment {s} depuis {v} ans",
    ),
    "place.walls": (
        "{s} a des murs {v:mp} qui brillent au soleil",
        "les murs {s:of} sont peints en {v:m} chaque printemps",
        "on voit de loin les murs {v:mp} {s:of}",
    ),
    "place.mood": (
        "{s} reste un endroit très {v:m} en toute saison",
        "les visiteurs disent souvent que {s} est très {v}",
        "{s} est {v} presque tous les jours de l'année",
    ),
    "place.near": (
        "{s} se trouve tout près {v:of}",
        "une petite route va {s:from} jusque {v:to}",
        "{s} est à quelques pas {v:of}",
    ),
    "place.known_for": (
        "{s} est {p:connu|connue} partout pour {v}",
        "les gens viennent {s:to} pour goûter {v}",
        "personne ne quitte {s} sans goûter {v}",
    ),
    "place.built_by": (
        "{s} a été {p:construit|construite} il y a longtemps par {v}",
        "c'est {v} qui a construit {s} il y a bien des années",
        "une petite plaque dit que {v} a construit {s}",
    ),
    "place.weather": (
        "en automne il y a souvent {v:some} {s:in}",
        "le temps le plus courant {s:in} est {v}",
        "{s} connaît {v} presque chaque semaine de l'année",
    ),
    "place.nature": (
        "{s} se trouve juste à côté {q:d'un|d'une} {v:bare}",
        "juste derrière {s} on peut voir {v:a}",
        "les enfants jouent volontiers près {v:of} derrière {s}",
    ),
    "place.sound": (
        "la nuit on entend {v} {s:in}",
        "{s} se réveille chaque matin avec le son {v:of}",
        "les gens {s:in} s'endorment en écoutant {v}",
    ),
    "place.month": (
        "{s} célèbre sa grande fête au mois de {v}",
        "le meilleur mois pour voir {s} est {v}",
        "chaque année en {v} il y a une fête {s:in}",
    ),
    "person.profession": (
        "{s} travaille comme {v} du lundi au samedi",
        "{s} est {v} depuis de longues années",
        "tout le monde dans le pays connaît {s} comme {v}",
    ),
    "person.home": (
        "{s} habite {v:in} avec toute la famille",
        "{s} a une petite chambre {v:in}",
        "la maison {s:of} se trouve {v:in}",
    ),
    "person.dish": (
        "{s} aime {v} plus que tous les autres plats",
        "le plat préféré {s:of} est {v}",
        "{s} mange {v} presque tous les jours de la semaine",
    ),
    "person.pet": (
        "{s} a {v:a} comme fidèle compagnon",
        "{s} partage sa maison avec {v:a}",
        "l'animal préféré {s:of} dans la maison est {v:a}",
    ),
    "person.fear": (
        "{s} a terriblement peur {v:of}",
        "{s} s'enfuit toujours devant {v}",
        "rien ne fait plus peur {s:to} que {v}",
    ),
    "person.character": (
        "{s} a un grand cœur et semble très {v}",
        "{s} a toujours été très {v} avec tout le monde",
        "les voisins disent que {s} est vraiment très {v}",
    ),
    "person.coat": (
        "{s} porte toujours un manteau {v:m} en hiver",
        "le manteau {s:of} est {v:m} avec de grands boutons",
        "{s} a acheté un manteau {v:m} il y a des années",
    ),
    "person.instrument": (
        "{s} joue {v:of} tous les soirs après le dîner",
        "{s} a appris à jouer {v:of} dans son enfance",
        "l'instrument préféré {s:of} est {v}",
    ),
    "person.friend": (
        "depuis l'école {s} et {v} sont toujours ensemble",
        "{s} se promène avec {v} tous les dimanches",
        "la personne la plus chère {s:to} se nomme {v}",
    ),
    "person.month": (
        "{s} fête son anniversaire chaque année en {v}",
        "{s} est {p:né|née} un jour de pluie en {v}",
        "l'anniversaire {s:of} tombe au mois de {v}",
    ),
    "animal.colour": (
        "{s} est {v} de la tête à la queue",
        "la couleur {s:of} est le {v:m} même en hiver",
        "on reconnaît facilement {s} car {p:il|elle} est {v}",
    ),
    "animal.size": (
        "{s} est plutôt {v} pour son âge",
        "tout le monde est surpris que {s} soit si {v}",
        "les enfants disent que {s} est vraiment {v}",
    ),
    "animal.character": (
        "{s} est très {v} quand les gens arrivent",
        "{s} a toujours été {v} avec les étrangers",
        "les autres animaux pensent que {s} est très {v}",
    ),
    "animal.home": (
        "{s} vit {v:in} pendant toute l'année",
        "{s} est {p:né|née} {v:in} et y reste toujours",
        "la maison {s:of} se trouve {v:in}",
    ),
    "animal.food": (
        "{s} mange {v:some} tous les jours avec plaisir",
        "{s} passe des heures à chercher {v:some}",
        "la nourriture préférée {s:of} ce sont {v}",
    ),
    "animal.bed": (
        "{s} dort {v} dès que la journée finit",
        "{s} a fait son lit {v}",
        "après une longue journée {s} se repose {v}",
    ),
    "animal.hour": (
        "{s} sort faire une promenade {v}",
        "le meilleur moment pour voir {s} est {v}",
        "{s} est très {p:actif|active} {v} en toute saison",
    ),
    "animal.friend": (
        "{s} joue avec {v} presque tous les jours",
        "{s} ne va nulle part sans {v}",
        "l'animal que {s} préfère est {v}",
    ),
    "animal.fear": (
        "{s} s'enfuit dès que résonnent {v}",
        "{s} a très peur du son {v:of}",
        "le son {v:of} effraie toujours {s}",
    ),
    "animal.weather": (
        "{s} est très {p:heureux|heureuse} quand arrive {v}",
        "{s} aime {v} plus que tout autre temps",
        "quand il y a {v:some} dehors {s} se met à danser",
    ),
    "dish.taste": (
        "{s} a un goût {v:m} dont on se souvient",
        "le goût {s:of} est étonnamment {v:m}",
        "tout le monde dit que {s} a une saveur très {v:f}",
    ),
    "dish.origin": (
        "{s} vient de la vieille cuisine {v:of}",
        "la recette {s:of} est née {v:in}",
        "les meilleurs cuisiniers ont appris à faire {s} {v:in}",
    ),
    "dish.inventor": (
        "{s} est une vieille invention de {v}",
        "c'est {v} qui a préparé {s} pour la première fois",
        "un soir d'hiver {v} a écrit la recette {s:of}",
    ),
    "dish.ingredient": (
        "{s} contient toujours un peu de {v:bare} pour le goût",
        "l'ingrédient secret {s:of} est {v}",
        "les bons cuisiniers ajoutent toujours {v:some} {s:to}",
    ),
    "dish.occasion": (
        "{s} se mange {v} avec le sourire",
        "les familles de la vallée mangent {s} {v}",
        "on trouve souvent {s} sur la table {v}",
    ),
    "dish.drink": (
        "{s} va très bien avec {v:some}",
        "la boisson qui convient le mieux {s:to} est {v}",
        "les gens boivent volontiers {v:some} avec {s}",
    ),
    "dish.pot": (
        "{s} doit cuire lentement {v}",
        "le secret {s:of} est la cuisson {v}",
        "un bon cuisinier prépare {s} {v}",
    ),
    "dish.month": (
        "{s} se prépare surtout au mois de {v}",
        "le meilleur mois pour {s} est {v}",
        "chaque année en {v} les gens préparent {s}",
    ),
    "dish.colour": (
        "{s} arrive à table sur un plat {v:m}",
        "{s} est toujours {p:servi|servie} dans des assiettes {v:fp}",
        "selon la tradition l'assiette {s:of} doit être {v:f}",
    ),
}

QUESTIONS = {
    "place.settlement": ("quel genre de lieu est {s} ?",),
    "place.age": ("quel âge a {s} ?",),
    "place.walls": ("de quelle couleur sont les murs {s:of} ?",),
    "place.mood": (
        "comment est {s} pour les visiteurs ?",
        "comment les visiteurs trouvent-ils {s} ?",
    ),
    "place.near": (
        "quel lieu se trouve tout près {s:of} ?",
        "quel lieu est à quelques pas {s:of} ?",
    ),
    "place.known_for": ("pour quel plat {s} est-{p:il|elle} {p:connu|connue} ?",),
    "place.built_by": ("qui a construit {s} ?",),
    "place.weather": ("quel temps fait-il d'habitude {s:in} ?",),
    "place.nature": ("que peut-on voir juste derrière {s} ?",),
    "place.sound": ("qu'entend-on la nuit {s:in} ?",),
    "place.month": (
        "en quel mois est la fête {s:of} ?",
        "quel est le meilleur mois pour voir {s} ?",
    ),
    "person.profession": ("quel est le métier {s:of} ?",),
    "person.home": ("où habite {s} ?", "où se trouve la maison {s:of} ?"),
    "person.dish": ("quel est le plat préféré {s:of} ?",),
    "person.pet": ("quel animal vit avec {s} ?",),
    "person.fear": ("de quel animal {s} a-t-{p:il|elle} peur ?",),
    "person.character": ("quel est le caractère {s:of} ?",),
    "person.coat": ("de quelle couleur est le manteau {s:of} ?",),
    "person.instrument": ("de quel instrument joue {s} ?",),
    "person.friend": (
        "avec qui {s} se promène-t-{p:il|elle} le dimanche ?",
        "qui est la personne la plus chère {s:to} ?",
    ),
    "person.month": ("en quel mois {s} est-{p:il né|elle née} ?",),
    "animal.colour": ("de quelle couleur est {s} ?",),
    "animal.size": ("quelle est la taille {s:of} ?",),
    "animal.character": ("quel est le caractère {s:of} ?",),
    "animal.home": ("où vit {s} ?",),
    "animal.food": ("que mange {s} ?",),
    "animal.bed": ("où dort {s} ?",),
    "animal.hour": ("quand sort {s} ?", "à quel moment {s} est-{p:il actif|elle active} ?"),
    "animal.friend": ("avec quel animal joue {s} ?",),
    "animal.fear": ("quel son effraie {s} ?",),
    "animal.weather": ("quel temps aime {s} ?",),
    "dish.taste": ("quel goût a {s} ?",),
    "dish.origin": ("d'où vient {s} ?", "où est née la recette {s:of} ?"),
    "dish.inventor": ("qui a inventé {s} ?",),
    "dish.ingredient": ("quel est l'ingrédient secret {s:of} ?",),
    "dish.occasion": ("quand mange-t-on {s} ?",),
    "dish.drink": ("que boit-on avec {s} ?",),
    "dish.pot": ("comment doit-on cuire {s} ?",),
    "dish.month": ("en quel mois prépare-t-on {s} ?",),
    "dish.colour": ("de quelle couleur est l'assiette {s:of} ?",),
}

YES_NO = "est-il vrai que {clause} ?"

LEADS = {
    "plain": (
        "comme chacun le sait, ",
        "selon les vieilles histoires, ",
        "aujourd'hui encore, ",
        "à vrai dire, ",
        "à en croire les voisins, ",
        "aussi étrange que cela paraisse, ",
    ),
    "personal": (
        "comme tu le sais peut-être, ",
        "crois-moi, ",
        "à ma grande surprise, ",
        "comme je te l'ai dit, ",
        "comme disait ma grand-mère, ",
    ),
    "story": (
        "dans les contes d'autrefois, ",
        "comme le dit la légende, ",
        "comme on le raconte le soir, ",
        "comme le racontent les anciens, ",
    ),
    "persuasive": (
        "tout d'abord, ",
        "chose encore plus importante, ",
        "sans aucun doute, ",
        "à juste titre, ",
    ),
}
TAILS = {
    "plain": (
        ", comme chacun le sait",
        ", du moins selon les voisins",
        ", et personne ne sait pourquoi",
        ", et cela ne changera jamais",
    ),
    "personal": (", tu t'en souviens peut-être", ", et cela me plaît beaucoup", ", mon cher ami"),
    "story": (
        ", et personne ne demanda pourquoi",
        ", du moins selon la légende",
        ", et rien n'a changé depuis",
    ),
    "persuasive": (
        ", et ce n'est pas rien",
        ", ce qui est une bonne raison",
        ", comme tu le verras bientôt",
    ),
}
AND = ", et "

QUERIES = {
    "tell": {"any": "parle-moi {s:of}."},
    "describe": {
        "any": "décris {s} à quelqu'un qui n'y connaît rien.",
        "person": "décris {s} à quelqu'un qui ne {p:le|la} connaît pas.",
        "place": "décris {s} à quelqu'un qui n'y est jamais allé.",
    },
    "text": {"any": "écris un petit texte {s:about}."},
    "know": {"any": "que sais-tu {s:of} ?"},
    "letter": {"any": "écris une lettre à un ami {s:about}."},
    "reasons": {
        "place": "donne-moi quelques bonnes raisons de visiter {s}.",
        "person": "donne-moi quelques bonnes raisons de rencontrer {s}.",
        "animal": "donne-moi quelques bonnes raisons d'aller voir {s}.",
        "dish": "donne-moi quelques bonnes raisons de cuisiner {s}.",
    },
    "story": {"any": "écris une petite histoire {s:about}."},
    "special": {"any": "explique pourquoi on aime tant {s}."},
    "note": {
        "place": "écris une note de voyage {s:about}.",
        "person": "écris une page de journal sur une journée avec {s}.",
        "animal": "écris une note de nature {s:about}.",
        "dish": "écris une note {s:about} pour un menu.",
    },
    "remember": {"any": "aide-moi à retenir l'essentiel {s:about}."},
    "advice": {
        "place": "que dois-je savoir avant un voyage {s:to} ?",
        "person": "que dois-je savoir avant de rencontrer {s} ?",
        "animal": "que dois-je savoir avant de chercher {s} ?",
        "dish": "que dois-je savoir avant de préparer {s} ?",
    },
    "child": {"any": "comment présenterais-tu {s} à un enfant ?"},
    "speech": {"any": "prépare un petit discours {s:about}."},
    "curiosities": {"any": "quels sont les faits les plus curieux {s:about} ?"},
}

OPENERS = {
    "letter": (
        "cher ami, aujourd'hui je veux te parler {s:of}",
        "mon cher ami, j'ai des nouvelles {s:of} pour toi",
    ),
    "story": (
        "il était une fois un pays où tout le monde parlait {s:of}",
        "voici une petite histoire {s:about}, et chaque mot en est vrai",
    ),
    "reasons": ("il y a beaucoup de bonnes raisons de découvrir {s}, et en voici quelques-unes",),
    "special": ("il n'y a rien au monde comme {s}, et voici pourquoi",),
    "note": ("la note d'aujourd'hui parle {s:of}, une découverte que je n'oublierai pas",),
    "remember": ("pour se souvenir {s:of}, il suffit de retenir quelques choses",),
    "advice": ("avant de commencer, apprends quelques choses {s:about}",),
    "child": ("écoute bien, mon petit, car je vais te parler {s:of}",),
    "speech": ("chers invités, c'est un plaisir de parler ce soir {s:of}",),
    "curiosities": ("il y a des faits curieux {s:about}, et peu de gens les connaissent",),
}
CLOSERS = {
    "letter": (
        "j'espère te voir bientôt, et je t'embrasse très fort",
        "écris-moi bientôt, mon cher ami",
    ),
    "story": ("et ainsi finit l'histoire, du moins pour ce soir",),
    "reasons": ("n'attends pas, car chaque jour est bon pour découvrir {s}",),
    "special": ("voilà pourquoi nous aimerons toujours {s}",),
    "note": ("un jour je reviendrai sûrement parler {s:of}",),
    "remember": ("répète ces choses deux fois, et tu n'oublieras jamais {s}",),
    "advice": ("avec ces conseils, tout ira très bien",),
    "child": ("maintenant tu connais {s}, alors dors bien et fais de beaux rêves",),
    "speech": ("merci de m'avoir écouté, et bonne nuit à vous tous",),
    "curiosities": ("voilà tout ce que je sais {s:about}, mais il y a sûrement autre chose",),
}
TITLES = {
    "any": (
        "le secret {s:of}",
        "une journée avec {s}",
        "tout savoir {s:about}",
        "éloge {s:of}",
        "le monde {s:of}",
    ),
    "letter": ("une lettre {s:about}", "des nouvelles {s:of}"),
    "story": ("l'histoire {s:of}", "la légende {s:of}"),
    "reasons": ("pourquoi tu aimeras {s}", "de bonnes raisons d'aimer {s}"),
    "special": ("ce qui rend {s} unique",),
}
