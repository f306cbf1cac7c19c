"""ISO 3166-1 alpha-2 country codes, and named, versioned sets of countries.

There is no single "EU" constant on purpose: Switzerland passes the Dutch cloud policy and fails
SEAL 2, and membership changes. A set says which version it is and where its members come from.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


def _codes(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# All 249 officially assigned codes. Reserved codes (EU, UK) and user-assigned ones (XK) are not
# among them; neither is EL, which the European Union writes for Greece.
ISO_3166_1: Final = frozenset(
    _codes("""
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ
    BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ
    DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR
    GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY
    HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP
    KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY
    MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ
    NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA
    RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ
    TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ
    VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
    """)
)


class CountrySetName(StrEnum):
    """The named country sets that a classification may use."""

    EU = "eu"
    EEA = "eea"
    EEA_CH = "eea-ch"


@dataclass(frozen=True, slots=True)
class CountrySet:
    """A named set of countries: its members, since when they are these, and who says so."""

    name: CountrySetName
    version: str
    source: str
    members: tuple[str, ...]


_EU: Final = _codes("AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK")
_EEA: Final = tuple(sorted((*_EU, "IS", "LI", "NO")))
_EEA_CH: Final = tuple(sorted((*_EEA, "CH")))
# The day from which the members are these: the United Kingdom left.
_SINCE_BREXIT: Final = "2020-02-01"

COUNTRY_SETS: Final[Mapping[CountrySetName, CountrySet]] = MappingProxyType(
    {
        country_set.name: country_set
        for country_set in (
            CountrySet(
                CountrySetName.EU,
                _SINCE_BREXIT,
                "Treaty on European Union, article 52, without the United Kingdom (article 50)",
                _EU,
            ),
            CountrySet(
                CountrySetName.EEA,
                _SINCE_BREXIT,
                "Agreement on the European Economic Area: the EU, Iceland, Liechtenstein and Norway",
                _EEA,
            ),
            CountrySet(
                CountrySetName.EEA_CH,
                _SINCE_BREXIT,
                "Herziening Rijksbreed Cloudbeleid 2026, 4.6: the European Economic Area and Switzerland",
                _EEA_CH,
            ),
        )
    }
)


def expand(countries: Iterable[str], sets: Iterable[CountrySetName]) -> tuple[str, ...]:
    """Return the union of the countries and of the members of the sets, sorted, each once."""
    members = (member for name in sets for member in COUNTRY_SETS[name].members)
    return tuple(sorted({*countries, *members}))


def correction(code: str, sets_field: str) -> str:
    """Say what to write instead of a code that is not in ISO 3166-1."""
    # The same words stand in the custom resource definition.
    match code.upper():
        case "EL":
            instead = "write GR for Greece"
        case "UK":
            instead = "write GB for the United Kingdom"
        case "EU" | "EEA" | "EER":
            instead = f"for a group of countries write {sets_field}: [eu], [eea] or [eea-ch]"
        case _:
            instead = "write two capital letters, such as NL, DE or CH"
    return f"not an ISO 3166-1 country code: {instead}"
