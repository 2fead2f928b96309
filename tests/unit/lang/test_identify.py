"""Language identification, offline (the tests run with sockets closed)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from adatta.lang.identify import identify
from adatta.lang.profile import load_profile

ITALIAN = [
    "Domani mattina porterò la bicicletta dal meccanico, perché la ruota davanti è bucata.",
    "Il medico mi ha consigliato di camminare mezz'ora al giorno e di bere più acqua.",
    "Se avessi saputo che arrivavi, ti avrei aspettata alla stazione di Bologna.",
    "La nonna impasta la farina con le uova e lascia riposare tutto sotto un panno.",
    "Qual è il modo più semplice per rinnovare la carta d'identità?",
    "I turisti si lamentavano del caldo, ma nessuno voleva tornare in albergo.",
    "Gliel'ho detto ieri sera, però non mi ha creduto.",
    "La chirurga ha spiegato ai parenti come si è svolta l'operazione.",
    "Nel Medioevo la città era difesa da mura alte dodici metri e da quattro porte.",
    "NON CALPESTARE LE AIUOLE DEL GIARDINO PUBBLICO",
]
OTHER = {
    "Tomorrow morning I will take the bicycle to the repair shop around the corner.": "en",
    "Le médecin m'a conseillé de marcher une demi-heure par jour.": "fr",
    "Mañana por la mañana llevaré la bicicleta al taller del barrio.": "es",
    "Amanhã de manhã vou levar a bicicleta à oficina do bairro.": "pt",
    "Morgen früh bringe ich das Fahrrad in die Werkstatt an der Ecke.": "de",
    "Mâine dimineață voi duce bicicleta la atelierul din cartier.": "ro",
    "Demà al matí portaré la bicicleta al taller del barri, perquè la roda està punxada.": "ca",
    "Morgenochtend breng ik de fiets naar de werkplaats op de hoek.": "nl",
    "Завтра утром я отвезу велосипед в мастерскую за углом.": "ru",
    "明日の朝、角の修理店に自転車を持って行きます。": "ja",
}


@pytest.mark.parametrize("text", ITALIAN)
def test_identify_knows_italian(text: str) -> None:
    tag, probability = identify(text)
    assert tag == "it"
    assert 0.5 < probability <= 1.0


@pytest.mark.parametrize("text", OTHER)
def test_identify_knows_other_languages(text: str) -> None:
    assert identify(text)[0] == OTHER[text]


def test_identify_reads_the_whole_text() -> None:
    # The library's default looks at 80 characters only.
    assert identify("OK. " * 20 + " ".join(ITALIAN))[0] == "it"


@pytest.mark.parametrize("text", ["", " \n\t", "123, 456!", "😀"])
def test_identify_of_a_text_without_letters_is_undetermined(text: str) -> None:
    assert identify(text) == ("und", 0.0)


def test_identify_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    identify("Prima riga.\nSeconda riga, scritta in italiano.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Guarda as chaves na gaveta", "pt"),
        ("Vou à feira aos domingos", "pt"),
        ("Tanca la porta, si us plau", "ca"),
        ("El gos dorm sota la taula", "ca"),
        ("Cierra la puerta, por favor", "es"),
        ("Dammelo subito, ti prego", "it"),
    ],
)
def test_identify_tells_close_languages_apart_in_short_texts(text: str, language: str) -> None:
    tag, probability = identify(text)
    assert tag == language
    assert 0.0 < probability <= 1.0


@pytest.mark.parametrize(("text", "language"), [("het is niet in de tas", "nl"), ("die Katze im Sack", "de")])
def test_identify_leaves_languages_without_traits_alone(text: str, language: str) -> None:
    assert identify(text)[0] == language


def test_identify_does_not_mind_capitals() -> None:
    for text in ITALIAN:
        assert identify(text.upper())[0] == "it"


def test_identify_names_the_language_as_its_profile_does(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[identify.__module__]
    other = load_profile("it").model_copy(update={"tag": "xx-YY"})
    monkeypatch.setattr(module, "load_traits", lambda: {"it": other})
    assert identify(ITALIAN[0])[0] == "xx"
