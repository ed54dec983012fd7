"""Names of the places, people, animals and dishes of the world.

Tables have a row per entity: key | English | Italian | French | Spanish | German. A noun is written
with its definite article; `:m` or `:f` gives the gender that the article hides, `~Form` the German
accusative and dative when they differ from the nominative, and `@prep` the preposition with which
one is "at" a place.
"""
# ruff: noqa: E501

from __future__ import annotations

TOWNS = (
    "Marolina", "Belvana", "Torvella", "Castrena", "Lunessa", "Ombriga", "Salvora",
    "Vermella", "Pontessa", "Rivana", "Altamora", "Fontara", "Grivella", "Doremia",
    "Navessa", "Terluna", "Colvera", "Miranza", "Sorbella", "Zandora",
)  # fmt: skip

MEN = (
    "Bruno", "Carlo", "Diego", "Emil", "Felix", "Hugo", "Leo",
    "Marco", "Nico", "Oscar", "Paolo", "Rafael", "Silvio", "Tomas",
    "Victor", "Bastian", "Lorenz", "Matteo", "Julian", "Dario",
)  # fmt: skip

WOMEN = (
    "Alma", "Bianca", "Clara", "Dora", "Elena", "Flora", "Gina",
    "Helena", "Ida", "Julia", "Lidia", "Marta", "Nina", "Olga",
    "Paula", "Rita", "Sonia", "Teresa", "Vera", "Wanda",
)  # fmt: skip

PLACES = """
castle | castle@in | il castello@in | le château@dans | el castillo | das Schloss@in
mill | mill@in | il mulino@in | le moulin@dans | el molino | die Mühle@in
lighthouse | lighthouse@in | il faro@in | le phare@dans | el faro | der Leuchtturm@in
bridge | bridge@on | il ponte@su | le pont@sur | el puente | die Brücke@auf
tower | tower@in | la torre@in | la tour@dans | la torre | der Turm@in
abbey | abbey@in | l'abbazia:f@in | l'abbaye:f@dans | la abadía | die Abtei@in
inn | inn@at | la locanda@in | l'auberge:f@dans | la posada | das Gasthaus@in
market | market@at | il mercato@a | le marché@à | el mercado | der Markt@auf
theatre | theatre@at | il teatro@a | le théâtre@à | el teatro | das Theater@in
library | library@in | la biblioteca@in | la bibliothèque@à | la biblioteca | die Bibliothek@in
station | station@at | la stazione@a | la gare@à | la estación | der Bahnhof@an
museum | museum@in | il museo@in | le musée@à | el museo | das Museum@in
school | school@at | la scuola@in | l'école:f@à | la escuela | die Schule@in
bakery | bakery@in | il forno@in | la boulangerie@dans | la panadería | die Bäckerei@in
farm | farm@on | la fattoria@in | la ferme@à | la granja | der Bauernhof@auf
palace | palace@in | il palazzo@in | le palais@dans | el palacio | der Palast@in
observatory | observatory@at | l'osservatorio:m@in | l'observatoire:m@à | el observatorio | die Sternwarte@in
chapel | chapel@in | la cappella@in | la chapelle@dans | la capilla | die Kapelle@in
harbour | harbour@at | il porto@a | le port@à | el puerto | der Hafen@in
garden | garden@in | il giardino@in | le jardin@dans | el jardín | der Garten@in
"""

ANIMALS = """
fox | fox | la volpe | le renard | el zorro | der Fuchs
wolf | wolf | il lupo | le loup | el lobo | der Wolf
bear | bear | l'orso:m | l'ours:m | el oso | der Bär~Bären
owl | owl | il gufo | le hibou | el búho | die Eule
hare | hare | la lepre | le lièvre | la liebre | der Hase~Hasen
hedgehog | hedgehog | il riccio | le hérisson | el erizo | der Igel
squirrel | squirrel | lo scoiattolo | l'écureuil:m | la ardilla | das Eichhörnchen
stag | stag | il cervo | le cerf | el ciervo | der Hirsch
badger | badger | il tasso | le blaireau | el tejón | der Dachs
otter | otter | la lontra | la loutre | la nutria | der Otter
frog | frog | la rana | la grenouille | la rana | der Frosch
duck | duck | l'anatra:f | le canard | el pato | die Ente
goose | goose | l'oca:f | l'oie:f | la oca | die Gans
swan | swan | il cigno | le cygne | el cisne | der Schwan
heron | heron | l'airone:m | le héron | la garza | der Reiher
crow | crow | il corvo | le corbeau | el cuervo | die Krähe
eagle | eagle | l'aquila:f | l'aigle:m | el águila:f | der Adler
falcon | falcon | il falco | le faucon | el halcón | der Falke~Falken
rooster | rooster | il gallo | le coq | el gallo | der Hahn
horse | horse | il cavallo | le cheval | el caballo | das Pferd
donkey | donkey | l'asino:m | l'âne:m | el burro | der Esel
goat | goat | la capra | la chèvre | la cabra | die Ziege
sheep | sheep | la pecora | le mouton | la oveja | das Schaf
cow | cow | la mucca | la vache | la vaca | die Kuh
pig | pig | il maiale | le cochon | el cerdo | das Schwein
cat | cat | il gatto | le chat | el gato | die Katze
mouse | mouse | il topo | la souris | el ratón | die Maus
bat | bat | il pipistrello | la chauve-souris | el murciélago | die Fledermaus
tortoise | tortoise | la tartaruga | la tortue | la tortuga | die Schildkröte
lizard | lizard | la lucertola | le lézard | el lagarto | die Eidechse
beaver | beaver | il castoro | le castor | el castor | der Biber
parrot | parrot | il pappagallo | le perroquet | el loro | der Papagei
snail | snail | la lumaca | l'escargot:m | el caracol | die Schnecke
mole | mole | la talpa | la taupe | el topo | der Maulwurf
peacock | peacock | il pavone | le paon | el pavo real | der Pfau
"""

DISHES = """
onion_soup | onion soup | la zuppa di cipolle | la soupe à l'oignon | la sopa de cebolla | die Zwiebelsuppe
pumpkin_pie | pumpkin pie | la crostata di zucca | la tarte au potiron | la tarta de calabaza | der Kürbiskuchen
apple_cake | apple cake | la torta di mele | le gâteau aux pommes | el pastel de manzana | der Apfelkuchen
fish_stew | fish stew | lo stufato di pesce | le ragoût de poisson | el guiso de pescado | der Fischeintopf
lentil_soup | lentil soup | la zuppa di lenticchie | la soupe aux lentilles | la sopa de lentejas | die Linsensuppe
mushroom_risotto | mushroom risotto | il risotto ai funghi | le risotto aux champignons | el risotto de setas | der Pilzrisotto
potato_salad | potato salad | l'insalata di patate:f | la salade de pommes de terre | la ensalada de patatas | der Kartoffelsalat
cheese_omelette | cheese omelette | la frittata al formaggio | l'omelette au fromage:f | la tortilla de queso | das Käseomelett
bean_stew | bean stew | lo stufato di fagioli | le ragoût de haricots | el guiso de judías | der Bohneneintopf
chestnut_cake | chestnut cake | la torta di castagne | le gâteau aux châtaignes | el pastel de castañas | der Kastanienkuchen
cherry_tart | cherry tart | la crostata di ciliegie | la tarte aux cerises | la tarta de cerezas | die Kirschtorte
lemon_cake | lemon cake | la torta al limone | le gâteau au citron | el bizcocho de limón | der Zitronenkuchen
rice_pudding | rice pudding | il budino di riso | le riz au lait | el arroz con leche | der Milchreis
plum_jam | plum jam | la marmellata di prugne | la confiture de prunes | la mermelada de ciruelas | die Pflaumenmarmelade
nut_bread | nut bread | il pane alle noci | le pain aux noix | el pan de nueces | das Nussbrot
carrot_soup | carrot soup | la zuppa di carote | la soupe aux carottes | la sopa de zanahoria | die Karottensuppe
tomato_soup | tomato soup | la zuppa di pomodoro | la soupe à la tomate | la sopa de tomate | die Tomatensuppe
roast_chicken | roast chicken | il pollo arrosto | le poulet rôti | el pollo asado | das Brathähnchen
vegetable_pie | vegetable pie | lo sformato di verdure | la tourte aux légumes | el pastel de verduras | die Gemüsepastete
chocolate_cake | chocolate cake | la torta al cioccolato | le gâteau au chocolat | la tarta de chocolate | die Schokoladentorte
pear_tart | pear tart | la crostata di pere | la tarte aux poires | la tarta de peras | die Birnentorte
fig_jam | fig jam | la marmellata di fichi | la confiture de figues | la mermelada de higos | die Feigenmarmelade
cabbage_soup | cabbage soup | la zuppa di cavolo | la soupe au chou | la sopa de col | die Kohlsuppe
hazelnut_cake | hazelnut cake | la torta alle nocciole | le gâteau aux noisettes | el bizcocho de avellanas | der Haselnusskuchen
almond_cake | almond cake | la torta alle mandorle | le gâteau aux amandes | la tarta de almendras | der Mandelkuchen
garlic_bread | garlic bread | il pane all'aglio | le pain à l'ail | el pan de ajo | das Knoblauchbrot
seafood_salad | seafood salad | l'insalata di mare:f | la salade de fruits de mer | la ensalada de mariscos | der Meeresfrüchtesalat
barley_soup | barley soup | la zuppa d'orzo | la soupe à l'orge | la sopa de cebada | die Gerstensuppe
leek_tart | leek tart | la torta di porri | la tarte aux poireaux | la tarta de puerros | die Lauchtorte
strawberry_jam | strawberry jam | la marmellata di fragole | la confiture de fraises | la mermelada de fresas | die Erdbeermarmelade
potato_gratin | potato gratin | il gratin di patate | le gratin de pommes de terre | el gratinado de patatas | das Kartoffelgratin
roast_lamb | roast lamb | l'agnello arrosto:m | l'agneau rôti:m | el cordero asado | der Lammbraten
cucumber_salad | cucumber salad | l'insalata di cetrioli:f | la salade de concombres | la ensalada de pepino | der Gurkensalat
apricot_cake | apricot cake | la torta di albicocche | le gâteau aux abricots | el pastel de albaricoque | der Aprikosenkuchen
olive_bread | olive bread | il pane alle olive | le pain aux olives | el pan de aceitunas | das Olivenbrot
"""
