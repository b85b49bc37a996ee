/**
 * What passwords are most often made of, in lower case and without the digits and signs that are put around and into them:
 * words from the published lists of leaked passwords, first names, teams, and what is set as a default.
 */
const WORDS = `
password passwort passwd passphrase pass mypass mypassword thepassword contrasena motdepasse wachtwoord senha parola haslo heslo
letmein letmeinnow welcome willkommen bienvenue bienvenido changeme changemenow changethis change default secret secreto geheim
topsecret supersecret admin administrator administrador root superuser sysadmin system user username guest guestuser test tester
testing testtest test demo example sample login logon access accessdenied master masterkey server database postgres mysql oracle
redis docker ubuntu debian linux windows microsoft apple google facebook twitter instagram youtube amazon samsung nokia iphone
android internet computer laptop keyboard monitor network wireless router cisco netgear linksys dlink sutazai ollama kong qdrant
iloveyou iloveu loveyou iloveme ilovegod love loveme lovely lover loving forever always together baby babygirl babyboy babydoll
honey sweet sweetie sweety sweetheart darling angel angels angeleyes kitty kitten hellokitty princess prince queen king princesa
sunshine sunflower sunset sunrise summer winter spring autumn january february march april may june july august september october
november december monday tuesday wednesday thursday friday saturday sunday monkey dragon tiger lion eagle falcon wolf wolves
panther bear bears shark dolphin dolphins horse horses puppy doggy dog dogs cat cats chicken turtle rabbit bunny butterfly
penguin elephant scorpion spider snake cobra viper phoenix unicorn pony rooster bird fish shadow shadows ghost demon devil lucifer
satan angelo heaven hell god jesus jesuschrist christ jesusislord godisgood godislove blessed bless faith hope grace mary joseph
football footbal soccer baseball basketball hockey tennis golf golfer volleyball cricket rugby swimming running boxing wrestling
liverpool liverpoolfc arsenal chelsea manchester manutd manunited manchesterunited barcelona barca realmadrid juventus milan inter
bayern dortmund ajax benfica rangers celtic everton tottenham yankees lakers cowboys steelers packers eagles patriots giants
raiders redsox dodgers cubs bulls broncos redskins gators longhorns ronaldo messi neymar beckham rooney maradona kobe jordan lebron
superman batman spiderman ironman wolverine hulk avengers marvel joker robin superstar superhero starwars darthvader skywalker
jedi yoda startrek matrix neo trinity gandalf frodo hobbit lordoftherings harrypotter hogwarts dumbledore gryffindor pokemon
pikachu charizard naruto sasuke sakura goku vegeta dragonball onepiece mario luigi zelda sonic minecraft fortnite roblox
callofduty warcraft starcraft diablo counterstrike halo xbox playstation nintendo simpsons homer scooby scoobydoo mickey
mickeymouse minnie donald tinkerbell cinderella snowwhite winnie tigger garfield snoopy spongebob barbie disney nemo simba
metallica nirvana slipknot linkinpark greenday blink eminem tupac beatles elvis madonna shakira ironmaiden acdc pinkfloyd rolling
guitar guitarra drummer music musica rockstar rocknroll rock hiphop rapper dancer dance singer piano reggae marley
chocolate cookie cookies coffee cheese pizza banana bananas apple apples orange strawberry cherry peaches peanut butter pepper
ginger sugar candy cupcake vanilla brownie pumpkin pickle taco nachos burger bacon beer vodka whiskey budlight tequila
red blue green yellow purple pink black white silver gold golden brown orange rainbow diamond diamonds crystal ruby jade
mercedes ferrari porsche lamborghini mustang corvette camaro chevy chevrolet toyota honda yamaha suzuki kawasaki harley
harleydavidson bmw audi jaguar nissan mazda subaru volvo ford jeep truck trucker racing racecar nascar rider biker
america american usa canada mexico brasil brazil argentina colombia espana france paris london england ireland scotland germany
deutschland berlin hamburg muenchen italia italy roma russia moscow china beijing japan tokyo india mumbai delhi pakistan
philippines pinoy manila australia sydney newyork chicago boston dallas texas houston florida miami california losangeles
hollywood vegas lasvegas phoenix denver seattle hawaii alaska europe africa
michael mike david daniel dan john johnny jonathan james jim jimmy robert rob bob bobby william will bill billy joseph joe joey
thomas tom tommy charles charlie richard rick ricky matthew matt anthony tony mark steven steve andrew andy kevin brian ryan
jason justin brandon eric adam alex alexander alexandra alexis benjamin ben samuel sam sammy nathan patrick peter paul george
nicholas nick nicole christian chris christopher christine christina jessica jennifer jenny ashley amanda sarah melissa
michelle stephanie elizabeth lisa laura lauren rebecca rachel hannah emily emma sophie sophia olivia isabella maria mariana
anna annie andrea angela angelica barbara betty brittany britney carlos carmen caroline catherine claudia cristina danielle
diana diego eduardo fernando francis francisco gabriel gabriela gustavo hector hunter ivan jack jackie jackson jacob jake
jasmine javier joanna jorge jose josh joshua juan julia julian julie karen karina katie kelly kim kimberly kyle leonardo
linda luis lucas lucy luke manuel marcus margaret maggie mariah marina martin martina max maxwell megan miguel molly monica
morgan natalia natalie nancy oliver oscar pablo pamela patricia pedro rafael ramon ricardo roberto rodrigo rosa rose roxy ruth
sabrina samantha sandra santiago scott sean sebastian sergio shannon sharon sierra simon stella susan sylvia tanya taylor
teresa tiffany tyler valentina vanessa veronica victor victoria vincent virginia walter wendy yolanda zachary lola bella
buddy buster lucky rocky bailey maddie daisy sadie coco chloe cooper toby bandit oreo peanut princess gizmo smokey sparky
hello helloworld hellothere hallo halloween hola amigo amigos amor amore teamo tequiero corazon miamor bonjour soleil doudou
chouchou schatz schatzi ficken arschloch fuck fuckyou fuckoff fucker fuckthis fuckme shit bullshit asshole bitch bitches bastard
pussy dick penis boobs sex sexy sexygirl sexyboy sexything hotgirl hottie porn naked suckit blowme whatever whatthehell nothing
nobody somebody anybody none unknown anonymous private public trust trustno trustme trustnoone iamgod iamtheone thebest thebeast
number one two three four five six seven eight nine ten zero hundred thousand million money cash dollar dollars rich richard
millionaire business company office school schools college university student teacher doctor nurse lawyer police soldier army
marines navy airforce ranger captain commander general sniper killer killers assassin murder gangster gangsta mafia thug pirate
ninja samurai warrior warriors knight knights wizard magic magical mystic legend legends champion champions winner winners loser
freedom peace justice victory power powerful strong stronger happy happyday happiness smile smiles friend friends friendship
bestfriend family mother father mom mommy mama mamma mami dad daddy papa papi sister brother brothers son daughter wife
husband boyfriend girlfriend boy boys girl girls man woman lady ladies gentleman cowboy cowgirl
play player playboy players game gamer gamers games gaming pro proplayer noob hacker hackers hack hacked cyber matrix ultimate
extreme turbo nitro blaster thunder lightning storm hurricane tornado fire firefly firebird fireman flame flames ice iceman snow
snowball snowman rain ocean water river mountain island beach flower flowers garden forest tree star stars starlight moon
moonlight sun sky earth world planet universe galaxy space rocket apollo discovery enterprise voyager titan zeus apollo athena
hercules achilles spartan spartans trojan trojans troy caesar cleopatra egypt pharaoh vampire vampires twilight zombie zombies
monster monsters creature dinosaur jurassic alien aliens predator terminator robocop rambo rocky scarface godfather titanic
because please please thankyou thanks sorry goodbye goodluck goodmorning goodnight lucky luckyme superduper awesome amazing
beautiful gorgeous cool coolguy coolio crazy crazygirl funny fun stupid idiot dumbass moron silly lazy boring tired hungry
unbelievable incredible impossible something everything everyone anything remember forget forgotten forgetit dontforget
correcthorsebatterystaple thisisapassword thisismypassword passwordispassword nopassword noaccess
abcd abc abcdef aaa xxx xyz qwe asd zxc qaz wsx edc
`;

/** The words, each once. */
export const COMMON_WORDS: ReadonlySet<string> = new Set(WORDS.split(/\s+/).filter((word) => word.length > 2));
