"""Words that are values of facts: colours, characters, months, professions, ...

Each table has a row per word: key | English | Italian | French | Spanish | German. Adjectives give
masculine/feminine/masculine plural/feminine plural (one form where they are all alike), people's
professions masculine/feminine; nouns carry their definite article as in `entities`; phrases are
ready to be used after a verb.
"""
# ruff: noqa: E501

from __future__ import annotations

ADJECTIVES = {
    "colour": """
red | red | rosso/rossa/rossi/rosse | rouge/rouge/rouges/rouges | rojo/roja/rojos/rojas | rot
blue | blue | blu | bleu/bleue/bleus/bleues | azul/azul/azules/azules | blau
green | green | verde/verde/verdi/verdi | vert/verte/verts/vertes | verde/verde/verdes/verdes | grün
yellow | yellow | giallo/gialla/gialli/gialle | jaune/jaune/jaunes/jaunes | amarillo/amarilla/amarillos/amarillas | gelb
white | white | bianco/bianca/bianchi/bianche | blanc/blanche/blancs/blanches | blanco/blanca/blancos/blancas | weiß
grey | grey | grigio/grigia/grigi/grigie | gris/grise/gris/grises | gris/gris/grises/grises | grau
brown | brown | marrone/marrone/marroni/marroni | brun/brune/bruns/brunes | marrón/marrón/marrones/marrones | braun
black | black | nero/nera/neri/nere | noir/noire/noirs/noires | negro/negra/negros/negras | schwarz
""",
    "mood": """
quiet | quiet | tranquillo/tranquilla/tranquilli/tranquille | tranquille | tranquilo/tranquila/tranquilos/tranquilas | ruhig
lively | lively | vivace/vivace/vivaci/vivaci | animé/animée/animés/animées | animado/animada/animados/animadas | lebhaft
windy | windy | ventoso/ventosa/ventosi/ventose | venteux/venteuse/venteux/venteuses | ventoso/ventosa/ventosos/ventosas | windig
sunny | sunny | soleggiato/soleggiata/soleggiati/soleggiate | ensoleillé/ensoleillée/ensoleillés/ensoleillées | soleado/soleada/soleados/soleadas | sonnig
mysterious | mysterious | misterioso/misteriosa/misteriosi/misteriose | mystérieux/mystérieuse/mystérieux/mystérieuses | misterioso/misteriosa/misteriosos/misteriosas | geheimnisvoll
elegant | elegant | elegante/elegante/eleganti/eleganti | élégant/élégante/élégants/élégantes | elegante/elegante/elegantes/elegantes | elegant
lonely | lonely | solitario/solitaria/solitari/solitarie | solitaire/solitaire/solitaires/solitaires | solitario/solitaria/solitarios/solitarias | einsam
cold | cold | freddo/fredda/freddi/fredde | froid/froide/froids/froides | frío/fría/fríos/frías | kalt
""",
    "character": """
brave | brave | coraggioso/coraggiosa/coraggiosi/coraggiose | courageux/courageuse/courageux/courageuses | valiente/valiente/valientes/valientes | mutig
curious | curious | curioso/curiosa/curiosi/curiose | curieux/curieuse/curieux/curieuses | curioso/curiosa/curiosos/curiosas | neugierig
patient | patient | paziente/paziente/pazienti/pazienti | patient/patiente/patients/patientes | paciente/paciente/pacientes/pacientes | geduldig
shy | shy | timido/timida/timidi/timide | timide/timide/timides/timides | tímido/tímida/tímidos/tímidas | schüchtern
stubborn | stubborn | testardo/testarda/testardi/testarde | têtu/têtue/têtus/têtues | terco/terca/tercos/tercas | stur
generous | generous | generoso/generosa/generosi/generose | généreux/généreuse/généreux/généreuses | generoso/generosa/generosos/generosas | großzügig
clever | clever | furbo/furba/furbi/furbe | malin/maligne/malins/malignes | listo/lista/listos/listas | klug
proud | proud | orgoglioso/orgogliosa/orgogliosi/orgogliose | fier/fière/fiers/fières | orgulloso/orgullosa/orgullosos/orgullosas | stolz
lazy | lazy | pigro/pigra/pigri/pigre | paresseux/paresseuse/paresseux/paresseuses | perezoso/perezosa/perezosos/perezosas | faul
cheerful | cheerful | allegro/allegra/allegri/allegre | joyeux/joyeuse/joyeux/joyeuses | alegre/alegre/alegres/alegres | fröhlich
""",
    "size": """
tiny | tiny | minuscolo/minuscola/minuscoli/minuscole | minuscule/minuscule/minuscules/minuscules | diminuto/diminuta/diminutos/diminutas | winzig
small | small | piccolo/piccola/piccoli/piccole | petit/petite/petits/petites | pequeño/pequeña/pequeños/pequeñas | klein
large | large | grande/grande/grandi/grandi | grand/grande/grands/grandes | grande/grande/grandes/grandes | groß
huge | huge | enorme/enorme/enormi/enormi | énorme/énorme/énormes/énormes | enorme/enorme/enormes/enormes | riesig
slim | slim | snello/snella/snelli/snelle | mince/mince/minces/minces | delgado/delgada/delgados/delgadas | schlank
round | round | rotondo/rotonda/rotondi/rotonde | rond/ronde/ronds/rondes | redondo/redonda/redondos/redondas | rund
""",
    "taste": """
sweet | sweet | dolce/dolce/dolci/dolci | doux/douce/doux/douces | dulce/dulce/dulces/dulces | süß
salty | salty | salato/salata/salati/salate | salé/salée/salés/salées | salado/salada/salados/saladas | salzig
spicy | spicy | piccante/piccante/piccanti/piccanti | épicé/épicée/épicés/épicées | picante/picante/picantes/picantes | scharf
sour | sour | acido/acida/acidi/acide | acide/acide/acides/acides | ácido/ácida/ácidos/ácidas | sauer
bitter | bitter | amaro/amara/amari/amare | amer/amère/amers/amères | amargo/amarga/amargos/amargas | bitter
creamy | creamy | cremoso/cremosa/cremosi/cremose | crémeux/crémeuse/crémeux/crémeuses | cremoso/cremosa/cremosos/cremosas | cremig
smoky | smoky | affumicato/affumicata/affumicati/affumicate | fumé/fumée/fumés/fumées | ahumado/ahumada/ahumados/ahumadas | rauchig
mild | mild | delicato/delicata/delicati/delicate | délicat/délicate/délicats/délicates | suave/suave/suaves/suaves | mild
""",
}

PROFESSIONS = """
baker | baker | fornaio/fornaia | boulanger/boulangère | panadero/panadera | Bäcker/Bäckerin
teacher | teacher | maestro/maestra | instituteur/institutrice | maestro/maestra | Lehrer/Lehrerin
doctor | doctor | medico/dottoressa | médecin | médico/médica | Arzt/Ärztin
painter | painter | pittore/pittrice | peintre | pintor/pintora | Maler/Malerin
gardener | gardener | giardiniere/giardiniera | jardinier/jardinière | jardinero/jardinera | Gärtner/Gärtnerin
carpenter | carpenter | falegname | menuisier/menuisière | carpintero/carpintera | Tischler/Tischlerin
tailor | tailor | sarto/sarta | couturier/couturière | sastre/sastra | Schneider/Schneiderin
shepherd | shepherd | pastore/pastora | berger/bergère | pastor/pastora | Schäfer/Schäferin
sailor | sailor | marinaio/marinaia | marin/marin | marinero/marinera | Seemann/Seefahrerin
cook | cook | cuoco/cuoca | cuisinier/cuisinière | cocinero/cocinera | Koch/Köchin
librarian | librarian | bibliotecario/bibliotecaria | bibliothécaire | bibliotecario/bibliotecaria | Bibliothekar/Bibliothekarin
smith | blacksmith | fabbro/fabbra | forgeron/forgeronne | herrero/herrera | Schmied/Schmiedin
poet | poet | poeta/poetessa | poète/poétesse | poeta | Dichter/Dichterin
miller | miller | mugnaio/mugnaia | meunier/meunière | molinero/molinera | Müller/Müllerin
weaver | weaver | tessitore/tessitrice | tisserand/tisserande | tejedor/tejedora | Weber/Weberin
watchmaker | watchmaker | orologiaio/orologiaia | horloger/horlogère | relojero/relojera | Uhrmacher/Uhrmacherin
beekeeper | beekeeper | apicoltore/apicoltrice | apiculteur/apicultrice | apicultor/apicultora | Imker/Imkerin
dancer | dancer | ballerino/ballerina | danseur/danseuse | bailarín/bailarina | Tänzer/Tänzerin
lawyer | lawyer | avvocato/avvocata | avocat/avocate | abogado/abogada | Anwalt/Anwältin
postman | letter carrier | postino/postina | facteur/factrice | cartero/cartera | Briefträger/Briefträgerin
"""

NOUNS = {
    "settlement": """
village | village | il villaggio | le village | el pueblo | das Dorf
town | town | la città | la ville | la ciudad | die Stadt
island | island | l'isola:f | l'île:f | la isla | die Insel
valley | valley | la valle | la vallée | el valle | das Tal
fortress | fortress | la fortezza | la forteresse | la fortaleza | die Festung
peninsula | peninsula | la penisola | la presqu'île | la península | die Halbinsel
oasis | oasis | l'oasi:f | l'oasis:f | el oasis | die Oase
""",
    "nature": """
river | river | il fiume | la rivière | el río | der Fluss
hill | hill | la collina | la colline | la colina | der Hügel
lake | lake | il lago | le lac | el lago | der See
forest | forest | il bosco | la forêt | el bosque | der Wald
meadow | meadow | il prato | la prairie | el prado | die Wiese
cave | cave | la grotta | la grotte | la cueva | die Höhle
waterfall | waterfall | la cascata | la cascade | la cascada | der Wasserfall
vineyard | vineyard | la vigna | le vignoble | el viñedo | der Weinberg
""",
    "weather": """
fog | fog | la nebbia | le brouillard | la niebla | der Nebel
rain | rain | la pioggia | la pluie | la lluvia | der Regen
snow | snow | la neve | la neige | la nieve | der Schnee
wind | wind | il vento | le vent | el viento | der Wind
hail | hail | la grandine | la grêle | el granizo | der Hagel
frost | frost | la brina | le givre | la escarcha | der Frost
sunshine | sunshine | il sole | le soleil | el sol | der Sonnenschein
""",
    "sound": """
bells | bells | le campane | les cloches:f | las campanas | die Glocken
waves | waves | le onde | les vagues:f | las olas | die Wellen
crickets | crickets | i grilli | les grillons:m | los grillos | die Grillen
seagulls | seagulls | i gabbiani | les mouettes:f | las gaviotas | die Möwen
drums | drums | i tamburi | les tambours:m | los tambores | die Trommeln
violins | violins | i violini | les violons:m | los violines | die Geigen
hammers | hammers | i martelli | les marteaux:m | los martillos | die Hämmer~Hämmern
nightingales | nightingales | gli usignoli | les rossignols:m | los ruiseñores | die Nachtigallen
""",
    "instrument": """
violin | violin | il violino | le violon | el violín | die Geige
flute | flute | il flauto | la flûte | la flauta | die Flöte
guitar | guitar | la chitarra | la guitare | la guitarra | die Gitarre
drum | drum | il tamburo | le tambour | el tambor | die Trommel
piano | piano | il pianoforte | le piano | el piano | das Klavier
harp | harp | l'arpa:f | la harpe | el arpa:f | die Harfe
trumpet | trumpet | la tromba | la trompette | la trompeta | die Trompete
accordion | accordion | la fisarmonica | l'accordéon:m | el acordeón | das Akkordeon
""",
    "food": """
berries | berries | le bacche | les baies:f | las bayas | die Beeren
nuts | nuts | le noci | les noix:f | las nueces | die Nüsse
seeds | seeds | i semi | les graines:f | las semillas | die Samen
leaves | leaves | le foglie | les feuilles:f | las hojas | die Blätter
mushrooms | mushrooms | i funghi | les champignons:m | las setas | die Pilze
apples | apples | le mele | les pommes:f | las manzanas | die Äpfel
carrots | carrots | le carote | les carottes:f | las zanahorias | die Karotten
cherries | cherries | le ciliegie | les cerises:f | las cerezas | die Kirschen
roots | roots | le radici | les racines:f | las raíces | die Wurzeln
flowers | flowers | i fiori | les fleurs:f | las flores | die Blumen
""",
    "ingredient": """
saffron | saffron | lo zafferano | le safran | el azafrán | der Safran
honey | honey | il miele | le miel | la miel | der Honig
cinnamon | cinnamon | la cannella | la cannelle | la canela | der Zimt
ginger | ginger | lo zenzero | le gingembre | el jengibre | der Ingwer
rosemary | rosemary | il rosmarino | le romarin | el romero | der Rosmarin
mint | mint | la menta | la menthe | la menta | die Minze
vanilla | vanilla | la vaniglia | la vanille | la vainilla | die Vanille
nutmeg | nutmeg | la noce moscata | la noix de muscade | la nuez moscada | die Muskatnuss
thyme | thyme | il timo | le thym | el tomillo | der Thymian
butter | butter | il burro | le beurre | la mantequilla | die Butter
""",
    "drink": """
wine | wine | il vino | le vin | el vino | der Wein
milk | milk | il latte | le lait | la leche | die Milch
lemonade | lemonade | la limonata | la limonade | la limonada | die Limonade
cider | cider | il sidro | le cidre | la sidra | der Apfelwein
tea | tea | il tè | le thé | el té | der Tee
beer | beer | la birra | la bière | la cerveza | das Bier
coffee | coffee | il caffè | le café | el café | der Kaffee
water | water | l'acqua:f | l'eau:f | el agua:f | das Wasser
""",
}

PHRASES = {
    "age": """
hundred | one hundred | cento | cent | cien | hundert
two_hundred | two hundred | duecento | deux cents | doscientos | zweihundert
three_hundred | three hundred | trecento | trois cents | trescientos | dreihundert
four_hundred | four hundred | quattrocento | quatre cents | cuatrocientos | vierhundert
five_hundred | five hundred | cinquecento | cinq cents | quinientos | fünfhundert
six_hundred | six hundred | seicento | six cents | seiscientos | sechshundert
seven_hundred | seven hundred | settecento | sept cents | setecientos | siebenhundert
eight_hundred | eight hundred | ottocento | huit cents | ochocientos | achthundert
""",
    "month": """
january | January | gennaio | janvier | enero | Januar
february | February | febbraio | février | febrero | Februar
march | March | marzo | mars | marzo | März
april | April | aprile | avril | abril | April
may | May | maggio | mai | mayo | Mai
june | June | giugno | juin | junio | Juni
july | July | luglio | juillet | julio | Juli
august | August | agosto | août | agosto | August
september | September | settembre | septembre | septiembre | September
october | October | ottobre | octobre | octubre | Oktober
november | November | novembre | novembre | noviembre | November
december | December | dicembre | décembre | diciembre | Dezember
""",
    "bed": """
stone | under a stone | sotto una pietra | sous une pierre | debajo de una piedra | unter einem Stein
tree | in a hollow tree | in un albero cavo | dans un arbre creux | en un árbol hueco | in einem hohlen Baum
roof | on a warm roof | su un tetto caldo | sur un toit chaud | sobre un tejado caliente | auf einem warmen Dach
grass | in the tall grass | nell'erba alta | dans les herbes hautes | entre la hierba alta | im hohen Gras
barn | behind the barn | dietro il fienile | derrière la grange | detrás del granero | hinter der Scheune
boat | in an old boat | in una vecchia barca | dans une vieille barque | en una barca vieja | in einem alten Boot
stairs | under the stairs | sotto le scale | sous l'escalier | debajo de la escalera | unter der Treppe
straw | on dry straw | sulla paglia asciutta | sur la paille sèche | sobre la paja seca | auf trockenem Stroh
""",
    "hour": """
dawn | at dawn | all'alba | à l'aube | al amanecer | bei Sonnenaufgang
morning | in the morning | di mattina | le matin | por la mañana | am Morgen
noon | at noon | a mezzogiorno | à midi | al mediodía | am Mittag
afternoon | in the afternoon | di pomeriggio | dans l'après-midi | por la tarde | am Nachmittag
sunset | at sunset | al tramonto | au coucher du soleil | al atardecer | bei Sonnenuntergang
midnight | at midnight | a mezzanotte | à minuit | a medianoche | um Mitternacht
""",
    "occasion": """
breakfast | for breakfast | a colazione | au petit déjeuner | en el desayuno | zum Frühstück
weddings | at weddings | ai matrimoni | aux mariages | en las bodas | bei Hochzeiten
sundays | on Sundays | la domenica | le dimanche | los domingos | am Sonntag
birthdays | at birthdays | ai compleanni | aux anniversaires | en los cumpleaños | bei Geburtstagen
harvest | at harvest time | durante il raccolto | pendant les moissons | durante la cosecha | zur Erntezeit
christmas | at Christmas | a Natale | à Noël | en Navidad | zu Weihnachten
picnics | at picnics | ai picnic | aux pique-niques | en las meriendas de campo | beim Picknick
supper | for supper | a cena | au dîner | en la cena | zum Abendessen
""",
    "pot": """
copper_pot | in a copper pot | in una pentola di rame | dans une marmite en cuivre | en una olla de cobre | in einem Kupfertopf
clay_pot | in a clay pot | in una pentola di terracotta | dans un pot en terre cuite | en una olla de barro | in einem Tontopf
stone_oven | in a stone oven | in un forno di pietra | dans un four en pierre | en un horno de piedra | in einem Steinofen
open_fire | over an open fire | sul fuoco vivo | sur un feu de bois | sobre un fuego de leña | über einem offenen Feuer
iron_pan | in an iron pan | in una padella di ferro | dans une poêle en fer | en una sartén de hierro | in einer Eisenpfanne
hot_ashes | under hot ashes | sotto la cenere calda | sous la cendre chaude | bajo la ceniza caliente | unter heißer Asche
""",
}
