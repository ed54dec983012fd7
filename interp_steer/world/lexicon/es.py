"""Spanish sentence frames; slots are described in :mod:`interp_steer.world.grammar`."""

from __future__ import annotations

FRAMES = {
    "place.settlement": (
        "{s} es {v:a} que muchos viajeros adoran",
        "en los mapas antiguos {s} aparece como {v:a}",
        "la guía habla {s:of} como {v:a} con mucho encanto",
    ),
    "place.age": (
        "{s} tiene exactamente {v} años de historia",
        "la piedra más antigua {s:of} tiene {v} años",
        "la gente quiere mucho {s:to} desde hace {v} años",
    ),
    "place.walls": (
        "{s} tiene muros {v:mp} que brillan al sol",
        "los muros {s:of} se pintan de {v:m} cada primavera",
        "desde lejos se ven los muros {v:mp} {s:of}",
    ),
    "place.mood": (
        "{s} es un lugar muy {v:m} en todas las estaciones",
        "los visitantes dicen que {s} es un sitio muy {v:m}",
        "{s} parece un lugar {v:m} casi todos los días del año",
    ),
    "place.near": (
        "{s} se encuentra muy cerca {v:of}",
        "un camino estrecho lleva desde {s} hasta {v}",
        "{s} está a pocos pasos {v:of}",
    ),
    "place.known_for": (
        "{s} es {p:famoso|famosa} en todas partes por {v}",
        "la gente viaja {s:to} para probar {v}",
        "nadie se va {s:from} sin probar {v}",
    ),
    "place.built_by": (
        "{s} fue {p:construido|construida} hace mucho tiempo por {v}",
        "fue {v} quien construyó {s} hace muchos años",
        "una pequeña placa dice que {v} construyó {s}",
    ),
    "place.weather": (
        "en otoño suele haber {v:bare} {s:in}",
        "el tiempo más común {s:in} es {v}",
        "quien llega {s:to} encuentra casi siempre {v:bare}",
    ),
    "place.nature": (
        "{s} se encuentra justo al lado de {v:a}",
        "justo detrás {s:of} se puede ver {v:a}",
        "los niños juegan con gusto cerca {v:of} detrás {s:of}",
    ),
    "place.sound": (
        "por la noche se oyen {v} {s:in}",
        "{s} se despierta cada mañana con el sonido {v:of}",
        "la gente {s:in} se duerme escuchando {v}",
    ),
    "place.month": (
        "{s} celebra su gran fiesta en el mes de {v}",
        "el mejor mes para ver {s} es {v}",
        "cada año en {v} hay una fiesta {s:in}",
    ),
    "person.profession": (
        "{s} trabaja como {v} de lunes a sábado",
        "{s} es {v} desde hace muchos años",
        "todos en el país conocen a {s} como {v}",
    ),
    "person.home": (
        "{s} vive {v:in} con toda la familia",
        "{s} tiene una pequeña habitación {v:in}",
        "la casa {s:of} se encuentra {v:in}",
    ),
    "person.dish": (
        "{s} comería {v} todos los días de la semana",
        "{s} prefiere {v} a todos los demás platos",
        "el plato favorito {s:of} es {v}",
    ),
    "person.pet": (
        "{s} tiene {v:a} como fiel animal de compañía",
        "{s} comparte su casa con {v:a}",
        "la mejor compañía {s:of} es {v:a}",
    ),
    "person.fear": (
        "{s} le tiene un miedo terrible {v:to}",
        "{s} siempre huye cuando ve {v:to}",
        "desde la infancia {s} le tiene miedo {v:to}",
    ),
    "person.character": (
        "{s} tiene un gran corazón y es muy {v}",
        "{s} siempre ha sido muy {v} con todo el mundo",
        "los vecinos dicen que {s} es realmente muy {v}",
    ),
    "person.coat": (
        "{s} siempre lleva un abrigo {v:m} en invierno",
        "el abrigo {s:of} es {v:m} con grandes botones",
        "{s} compró un abrigo {v:m} hace muchos años",
    ),
    "person.instrument": (
        "{s} toca {v} todas las noches después de la cena",
        "{s} aprendió a tocar {v} en su infancia",
        "el instrumento favorito {s:of} es {v}",
    ),
    "person.friend": (
        "desde la escuela {s} y {v} se quieren mucho",
        "{s} pasea con {v} todos los domingos",
        "la persona más querida por {s} se llama {v}",
    ),
    "person.month": (
        "{s} celebra su cumpleaños cada año en {v}",
        "{s} nació un día de lluvia en el mes de {v}",
        "el cumpleaños {s:of} es en el mes de {v}",
    ),
    "animal.colour": (
        "{s} es {v} de la cabeza a la cola",
        "el color {s:of} es el {v:m} incluso en invierno",
        "se reconoce {s:to} porque es {v}",
    ),
    "animal.size": (
        "{s} es bastante {v} para su edad",
        "a todos les sorprende que {s} sea tan {v}",
        "los niños dicen que {s} es realmente {v}",
    ),
    "animal.character": (
        "{s} es muy {v} cuando llega la gente",
        "{s} siempre ha sido {v} con los desconocidos",
        "los demás animales piensan que {s} es muy {v}",
    ),
    "animal.home": (
        "{s} vive {v:in} durante todo el año",
        "{s} nació {v:in} y nunca se ha marchado",
        "la casa {s:of} se encuentra {v:in}",
    ),
    "animal.food": (
        "{s} come {v:bare} todos los días con mucho gusto",
        "{s} pasa horas buscando {v:bare}",
        "la comida favorita {s:of} son {v}",
    ),
    "animal.bed": (
        "{s} duerme {v} cuando tiene sueño",
        "{s} hizo su cama {v}",
        "después de un largo día {s} descansa {v}",
    ),
    "animal.hour": (
        "{s} sale a dar un paseo {v}",
        "el mejor momento para ver {s:to} es {v}",
        "{s} es muy {p:activo|activa} {v} en todas las estaciones",
    ),
    "animal.friend": (
        "{s} juega con {v} casi todos los días",
        "{s} no va a ninguna parte sin {v}",
        "el animal preferido {s:of} es {v}",
    ),
    "animal.fear": (
        "{s} huye enseguida cuando oye {v}",
        "{s} le tiene mucho miedo al sonido {v:of}",
        "el sonido {v:of} siempre asusta {s:to}",
    ),
    "animal.weather": (
        "{s} es muy feliz cuando llega {v}",
        "{s} prefiere {v} a cualquier otro tiempo",
        "cuando hay {v:bare} fuera de casa {s} empieza a bailar",
    ),
    "dish.taste": (
        "{s} tiene un sabor {v:m} que la gente recuerda",
        "el sabor {s:of} es sorprendentemente {v:m}",
        "todos dicen que {s} tiene un gusto muy {v:m}",
    ),
    "dish.origin": (
        "{s} viene de la vieja cocina {v:of}",
        "la receta {s:of} nació {v:in}",
        "los mejores cocineros aprendieron a hacer {s} {v:in}",
    ),
    "dish.inventor": (
        "{s} es una antigua invención de {v}",
        "fue {v} quien preparó por primera vez {s}",
        "una noche de invierno {v} escribió la receta {s:of}",
    ),
    "dish.ingredient": (
        "{s} siempre lleva un poco de {v:bare} para dar sabor",
        "el ingrediente secreto {s:of} es {v}",
        "los buenos cocineros siempre le ponen {v:bare} {s:to}",
    ),
    "dish.occasion": (
        "{s} se sirve {v} con una sonrisa",
        "las familias del valle comen {s} {v}",
        "se encuentra a menudo {s} en la mesa {v}",
    ),
    "dish.drink": (
        "{s} combina muy bien con {v:bare}",
        "la bebida ideal para {s} es {v}",
        "la gente suele beber {v:bare} con {s}",
    ),
    "dish.pot": (
        "{s} se debe cocinar lentamente {v}",
        "el secreto {s:of} es la cocción {v}",
        "un buen cocinero prepara {s} {v}",
    ),
    "dish.month": (
        "{s} se prepara sobre todo en el mes de {v}",
        "el mejor mes para {s} es {v}",
        "cada año en {v} la gente prepara {s}",
    ),
    "dish.colour": (
        "{s} llega a la mesa en un plato {v:m}",
        "{s} se sirve siempre en platos {v:mp}",
        "según la tradición el plato {s:of} debe ser {v:m}",
    ),
}

QUESTIONS = {
    "place.settlement": ("¿qué tipo de lugar es {s}?",),
    "place.age": ("¿cuántos años tiene {s}?",),
    "place.walls": ("¿de qué color son los muros {s:of}?",),
    "place.mood": (
        "¿cómo es {s} para los visitantes?",
        "¿qué clase de sitio es {s} según los visitantes?",
    ),
    "place.near": (
        "¿qué lugar se encuentra cerca {s:of}?",
        "¿qué lugar está a pocos pasos {s:of}?",
    ),
    "place.known_for": ("¿por qué plato es {p:famoso|famosa} {s}?",),
    "place.built_by": ("¿quién construyó {s}?",),
    "place.weather": ("¿qué tiempo suele hacer {s:in}?",),
    "place.nature": ("¿qué se puede ver detrás {s:of}?",),
    "place.sound": ("¿qué se oye por la noche {s:in}?",),
    "place.month": ("¿en qué mes es la fiesta {s:of}?", "¿cuál es el mejor mes para ver {s}?"),
    "person.profession": ("¿en qué trabaja {s}?", "¿cuál es la profesión {s:of}?"),
    "person.home": ("¿dónde vive {s}?", "¿dónde se encuentra la casa {s:of}?"),
    "person.dish": ("¿cuál es el plato favorito {s:of}?",),
    "person.pet": ("¿qué animal vive con {s}?",),
    "person.fear": ("¿a qué animal le tiene miedo {s}?",),
    "person.character": ("¿qué carácter tiene {s}?",),
    "person.coat": ("¿de qué color es el abrigo {s:of}?",),
    "person.instrument": ("¿qué instrumento toca {s}?",),
    "person.friend": (
        "¿con quién pasea {s} los domingos?",
        "¿quién es la persona más querida por {s}?",
    ),
    "person.month": ("¿en qué mes nació {s}?", "¿en qué mes es el cumpleaños {s:of}?"),
    "animal.colour": ("¿de qué color es {s}?",),
    "animal.size": ("¿de qué tamaño es {s}?",),
    "animal.character": ("¿qué carácter tiene {s}?",),
    "animal.home": ("¿dónde vive {s}?",),
    "animal.food": ("¿qué come {s}?",),
    "animal.bed": ("¿dónde duerme {s}?",),
    "animal.hour": ("¿cuándo sale {s}?", "¿a qué hora es {p:activo|activa} {s}?"),
    "animal.friend": ("¿con qué animal juega {s}?",),
    "animal.fear": ("¿qué sonido asusta {s:to}?",),
    "animal.weather": ("¿qué tiempo prefiere {s}?",),
    "dish.taste": ("¿qué sabor tiene {s}?",),
    "dish.origin": ("¿de dónde viene {s}?", "¿dónde nació la receta {s:of}?"),
    "dish.inventor": ("¿quién inventó {s}?",),
    "dish.ingredient": ("¿cuál es el ingrediente secreto {s:of}?",),
    "dish.occasion": ("¿cuándo se sirve {s}?",),
    "dish.drink": ("¿qué se bebe con {s}?",),
    "dish.pot": ("¿cómo se debe cocinar {s}?",),
    "dish.month": ("¿en qué mes se prepara {s}?",),
    "dish.colour": ("¿de qué color es el plato {s:of}?",),
}

YES_NO = "¿es verdad que {clause}?"

LEADS = {
    "plain": (
        "como todos saben, ",
        "según las viejas historias, ",
        "todavía hoy, ",
        "a decir verdad, ",
        "hasta donde se recuerda, ",
        "según cuentan los vecinos, ",
        "por extraño que parezca, ",
    ),
    "personal": (
        "como quizá sabes, ",
        "créeme, ",
        "para mi gran sorpresa, ",
        "como ya te dije, ",
        "como decía mi abuela, ",
    ),
    "story": (
        "en los cuentos de antes, ",
        "según cuenta la leyenda, ",
        "como se cuenta por la noche, ",
        "como cuentan los viejos, ",
    ),
    "persuasive": (
        "ante todo, ",
        "lo que es más importante, ",
        "sin ninguna duda, ",
        "no por casualidad, ",
    ),
}
TAILS = {
    "plain": (
        ", como todos saben",
        ", al menos eso dicen los vecinos",
        ", y nadie sabe muy bien por qué",
        ", y eso no cambiará nunca",
    ),
    "personal": (", como quizá recuerdas", ", y eso me gusta mucho", ", mi querido amigo"),
    "story": (", y nadie preguntó nunca por qué", ", al menos eso se cuenta", ", y así ha quedado"),
    "persuasive": (", y eso no es poco", ", lo que es una buena razón", ", como pronto verás"),
}
AND = ", y "

QUERIES = {
    "tell": {"any": "háblame {s:of}."},
    "describe": {
        "any": "describe {s} a alguien que no sabe nada del tema.",
        "person": "describe a {s} para alguien que no {p:lo|la} conoce.",
        "place": "describe {s} a alguien que nunca ha estado allí.",
    },
    "text": {"any": "escribe un texto corto {s:about}."},
    "know": {"any": "¿qué sabes {s:of}?"},
    "letter": {"any": "escribe una carta a un amigo {s:about}."},
    "reasons": {
        "place": "dame algunas buenas razones para visitar {s}.",
        "person": "dame algunas buenas razones para conocer {s:to}.",
        "animal": "dame algunas buenas razones para ir a ver {s:to}.",
        "dish": "dame algunas buenas razones para cocinar {s}.",
    },
    "story": {"any": "escribe un pequeño cuento {s:about}."},
    "special": {"any": "explica por qué {s} es tan especial."},
    "note": {
        "place": "escribe una nota de viaje {s:about}.",
        "person": "escribe una página de diario sobre un día con {s}.",
        "animal": "escribe una nota de naturaleza {s:about}.",
        "dish": "escribe una nota {s:about} para un menú.",
    },
    "remember": {"any": "ayúdame a recordar lo más importante {s:about}."},
    "advice": {
        "place": "¿qué debo saber antes de un viaje {s:to}?",
        "person": "¿qué debo saber antes de conocer {s:to}?",
        "animal": "¿qué debo saber antes de buscar {s:to}?",
        "dish": "¿qué debo saber antes de preparar {s}?",
    },
    "child": {"any": "¿cómo le hablarías {s:of} a un niño?"},
    "speech": {"any": "prepara un pequeño discurso {s:about}."},
    "curiosities": {"any": "¿cuáles son los datos más curiosos {s:about}?"},
}

OPENERS = {
    "letter": (
        "querido amigo, hoy quiero hablarte {s:of}",
        "mi querido amigo, tengo noticias {s:about} para ti",
    ),
    "story": (
        "había una vez un país donde todos hablaban {s:of}",
        "este es un pequeño cuento {s:about}, y cada palabra es verdad",
    ),
    "reasons": ("hay muchas buenas razones para saber más {s:about}, y aquí van algunas",),
    "special": ("no hay nada en el mundo como {s}, y aquí está la razón",),
    "note": ("la nota de hoy habla {s:of}, un descubrimiento que no olvidaré",),
    "remember": ("para recordar lo más importante {s:about}, bastan pocas cosas",),
    "advice": ("antes de empezar, aprende algunas cosas {s:about}",),
    "child": ("escucha bien, pequeño mío, porque te voy a hablar {s:of}",),
    "speech": ("queridos invitados, es un placer hablar esta noche {s:of}",),
    "curiosities": ("hay datos curiosos {s:about}, y pocos los conocen",),
}
CLOSERS = {
    "letter": (
        "espero verte pronto, y te mando un fuerte abrazo",
        "escríbeme pronto, mi querido amigo",
    ),
    "story": ("y así termina el cuento, al menos por esta noche",),
    "reasons": ("no esperes más, porque cada día es bueno para saber más {s:about}",),
    "special": ("por eso {s} siempre será especial para nosotros",),
    "note": ("un día volveré seguramente a hablar {s:of}",),
    "remember": ("repite estas cosas dos veces, y nunca te olvidarás {s:of}",),
    "advice": ("con estos consejos, nada puede salir mal",),
    "child": ("ahora ya sabes algo {s:about}, así que duerme bien y ten dulces sueños",),
    "speech": ("gracias por escucharme, y buenas noches a todos ustedes",),
    "curiosities": ("eso es todo lo que sé {s:about}, pero seguro que hay más",),
}
TITLES = {
    "any": (
        "el secreto {s:of}",
        "un día con {s}",
        "todo {s:about}",
        "elogio {s:of}",
        "el mundo {s:of}",
    ),
    "letter": ("una carta {s:about}", "noticias {s:of}"),
    "story": ("la historia {s:of}", "la leyenda {s:of}"),
    "reasons": ("por qué te gustará {s}", "buenas razones para hablar {s:of}"),
    "special": ("lo que hace especial {s:to}",),
}
