"""The words that retrieval tasks are made of: common ones, which most tokenizers have whole."""

ANSWERS = """
apple arm army bank basket bear bell bird blood boat body bone book bottle box bread bridge
brother bus camp car card castle cat chain chair child church circle city clock cloth cloud coat
coin cow desert doctor dog door dream dress dust ear earth engine eye face farm farmer father
finger fire fish flag floor flower food foot forest friend fruit game garden gate girl glass gold
grass gun hair hall hand hat head heart hill horse hospital hotel house ice iron island judge key
king kitchen knife lake leaf leg letter lion lock machine market meat metal milk mirror money moon
mother mountain mouth music neck night nose ocean oil palace paper park pen piano picture plane
plant poem police prison queen rain ring river road roof room rope salt school sea seed sheep ship
shirt shoe shop silver sister sky snow soldier son song stone store storm street student summer
sun sword table teacher theater tool tower town train tree valley village wall watch water wheel
wind window wine winter wolf woman wood yard
"""
ADJECTIVES = """
amber ancient broken bright brown careful clever cold crimson curious dark distant early empty
famous fast gentle giant golden green happy heavy hidden hollow humble hungry large late lazy
little lonely lost loud lucky narrow noble orange patient pink proud purple quiet rapid red royal
rusty sad secret silent simple sleepy slow small strange strong tall tiny violet warm white wide
wild wise yellow young
"""
NOUNS = """
actor admiral agent artist baker banker barber baron builder butcher captain carpenter clerk coach
cook dancer dealer driver duke editor expert farrier fisher gardener guard guest guide hunter hero
inspector lawyer leader major manager mayor merchant miller miner monk nurse officer owner painter
pilot pirate player poet porter priest prince reader ranger sailor scholar scout singer speaker
spy stranger tailor thief trader visitor waiter weaver witness worker writer
"""
