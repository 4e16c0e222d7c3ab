"""Invented people of many languages, the same for the same seed and number."""

import random
import unicodedata
from typing import Any

TAGS = (
    "Course_Access",
    "Module_1_Has_Access",
    "Module_2_Has_Access",
    "Module_3_Has_Access",
    "Newsletter",
    "Webinar_Spring",
    "Paid_In_Full",
    "VIP",
)
FIELDS = ("Password", "Username", "Points", "Coupon code", "Team seats")

# One line a language: first names | last names. After a colon: the Latin form of a name in another script.
_LANGUAGES = """
Emma Noah Grace Oliver Chloe Liam | Carter Hughes O'Connor Bennett Whitfield Reyes
Marta João Inês Tiago Beatriz | Oliveira Gonçalves Simões Figueiredo Araújo
Lucía Tomás Sofía Andrés Íñigo | Herrera-Villalobos Muñoz Peña Ibáñez Castellanos
Jonas Anneliese Jürgen Käthe Björn | Weber Müller-Lüdenscheidt Groß Schäfer Köhler
Chloé Luc Amélie François Noémie | Tremblay Lefèvre Dubois D'Aubigné Gagné
Giulia Matteo Chiara Niccolò | Esposito Dell'Acqua Conti Lombardi
Zofia Łukasz Agnieszka Michał | Wiśniewska Kowalczyk Zając Dąbrowski
Åsa Søren Ingrid Lars Þóra | Lindström Østergaard Bjørnstad Guðmundsdóttir
Aisha Chinedu Ngozi Tunde | Bello Okafor Adeyemi Nwachukwu
Mai Hồng Thị-Nhung Đức | Nguyễn Trần Phạm Lê
さくら:Sakura 健太:Kenta 美咲:Misaki | 佐藤:Sato 鈴木:Suzuki 渡辺:Watanabe
伟:Wei 秀英:Xiuying 芳:Fang | 王:Wang 欧阳:Ouyang 陈:Chen
지우:Jiwoo 민준:Minjun | 김:Kim 박:Park 남궁:Namgung
Ольга:Olga Дмитрий:Dmitry Анастасия:Anastasia | Ковальчук:Kovalchuk Соколов:Sokolov Лебедь:Lebed
Ελένη:Eleni Γιώργος:Giorgos | Παπαδόπουλος:Papadopoulos Νικολάου:Nikolaou
ليلى:Layla عمر:Omar فاطمة:Fatima | حداد:Haddad منصور:Mansour
נועה:Noa יונתן:Yonatan | לוי:Levi כהן:Cohen
प्रिया:Priya अर्जुन:Arjun | शर्मा:Sharma पटेल:Patel
Ayşe Çağlar Gülşah | Yıldız Öztürk Şahin
""".strip().splitlines()
_LATIN = str.maketrans({"ł": "l", "ø": "o", "þ": "th", "ð": "d", "đ": "d", "ß": "ss", "ı": "i", "'": "", "-": ""})


def _latin(name: str) -> str:
    plain = name.lower().translate(_LATIN)
    return unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()


def _pick(chance: random.Random, names: str) -> tuple[str, str]:
    shown, _, latin = chance.choice(names.split()).partition(":")
    return shown, _latin(latin or shown)


def person(number: int, seed: int = 1) -> dict[str, Any]:
    """The person of that number: name, an e-mail address no other number has, some tags and points."""
    chance = random.Random(f"{seed}:{number}")
    first_names, _, last_names = chance.choice(_LANGUAGES).partition("|")
    first, first_latin = _pick(chance, first_names)
    last, last_latin = _pick(chance, last_names)
    domain = chance.choice(("example.com", "example.net", "example.org"))
    tags = chance.sample(TAGS[1:], chance.randint(0, 3))
    fields = {"Points": str(chance.randrange(0, 200, 10))} if chance.random() < 0.5 else {}
    return {
        "email": f"{first_latin}.{last_latin}.{number}@{domain}",
        "first_name": first,
        "last_name": last,
        "fields": fields,
        "tags": [TAGS[0], *tags],
    }
