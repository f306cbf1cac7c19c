import re

from hypothesis import given
from hypothesis import strategies as st

from residency.api.countries import COUNTRY_SETS, ISO_3166_1, CountrySetName, correction, expand


def test_there_are_249_codes_of_two_capital_letters() -> None:
    assert len(ISO_3166_1) == 249
    assert all(re.fullmatch("[A-Z]{2}", code) for code in ISO_3166_1)


def test_codes_that_are_only_reserved_or_user_assigned_are_not_countries() -> None:
    assert ISO_3166_1.isdisjoint({"EL", "UK", "EU", "XK", "XX", "ZZ", "AN", "SU"})
    assert {"GR", "GB", "BQ", "AW", "CW", "SX", "NL", "CH"} <= ISO_3166_1


def test_the_sets_have_the_members_that_the_treaties_name() -> None:
    eu, eea, eea_ch = (set(COUNTRY_SETS[name].members) for name in CountrySetName)
    assert (len(eu), len(eea), len(eea_ch)) == (27, 30, 31)
    assert eea - eu == {"IS", "LI", "NO"}
    assert eea_ch - eea == {"CH"}
    assert eu.isdisjoint({"GB", "CH", "NO"})
    assert {"NL", "GR", "HR", "CY", "MT"} <= eu


def test_every_set_says_its_version_and_its_source() -> None:
    assert set(COUNTRY_SETS) == set(CountrySetName)
    for name, country_set in COUNTRY_SETS.items():
        assert country_set.name == name
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", country_set.version)
        assert country_set.source
        assert list(country_set.members) == sorted(set(country_set.members))
        assert set(country_set.members) <= ISO_3166_1


def test_countries_and_sets_are_united_sorted_and_each_named_once() -> None:
    assert expand(["US", "NL", "NL"], []) == ("NL", "US")
    assert expand(["CH"], [CountrySetName.EEA]) == COUNTRY_SETS[CountrySetName.EEA_CH].members
    assert expand([], []) == ()


@given(st.text(max_size=40))
def test_a_correction_always_says_what_to_write(code: str) -> None:
    assert re.fullmatch(
        r"not an ISO 3166-1 country code: (write|for a group of countries write countrySets:) .+",
        correction(code, "countrySets"),
    )
