"""Label selectors that are taken, and what they say; and such as are not."""

from typing import Final

from residency.core.requirements import Operator, Requirement

_TEAM = "team"
_LONGEST_NAME = "n" * 63
_LONGEST_PREFIX = ".".join(["p" * 63] * 3 + ["p" * 61])

SELECTORS: Final = {
    "team": (Requirement(_TEAM, Operator.EXISTS),),
    "!team": (Requirement(_TEAM, Operator.DOES_NOT_EXIST),),
    "! team": (Requirement(_TEAM, Operator.DOES_NOT_EXIST),),
    "team=ci": (Requirement(_TEAM, Operator.IN, ("ci",)),),
    "team==ci": (Requirement(_TEAM, Operator.IN, ("ci",)),),
    " team == ci ": (Requirement(_TEAM, Operator.IN, ("ci",)),),
    "team!=ci": (Requirement(_TEAM, Operator.NOT_IN, ("ci",)),),
    "team=": (Requirement(_TEAM, Operator.IN, ("",)),),
    "team!=": (Requirement(_TEAM, Operator.NOT_IN, ("",)),),
    "team in (ci)": (Requirement(_TEAM, Operator.IN, ("ci",)),),
    "team  in(ci,sandbox)": (Requirement(_TEAM, Operator.IN, ("ci", "sandbox")),),
    "team notin ( ci , sandbox )": (Requirement(_TEAM, Operator.NOT_IN, ("ci", "sandbox")),),
    "team in (ci, sandbox),!tenant": (
        Requirement(_TEAM, Operator.IN, ("ci", "sandbox")),
        Requirement("tenant", Operator.DOES_NOT_EXIST),
    ),
    "team,team!=ci , tenant notin (a)": (
        Requirement(_TEAM, Operator.EXISTS),
        Requirement(_TEAM, Operator.NOT_IN, ("ci",)),
        Requirement("tenant", Operator.NOT_IN, ("a",)),
    ),
    "in in (in, notin)": (Requirement("in", Operator.IN, ("in", "notin")),),
    "notin": (Requirement("notin", Operator.EXISTS),),
    "example.com/Team_1.x=A-1_b.C": (Requirement("example.com/Team_1.x", Operator.IN, ("A-1_b.C",)),),
    f"{_LONGEST_NAME}={_LONGEST_NAME}": (Requirement(_LONGEST_NAME, Operator.IN, (_LONGEST_NAME,)),),
    f"{_LONGEST_PREFIX}/x": (Requirement(f"{_LONGEST_PREFIX}/x", Operator.EXISTS),),
}
"""All of these mean the same to kubectl."""

BAD_SELECTORS: Final = {
    "": "'' is none of key, !key,",
    ",": "'' is none of",
    "team,": "'' is none of",
    "team ci": "'team ci' is none of",
    "team in ci": "'team in ci' is none of",
    "team in (ci": "'team in (ci' is none of",
    "team in ci)": "'team in ci)' is none of",
    "team in ((ci))": "is none of",
    "team in ()": "'team in ()' lists an empty value",
    "team in (ci,)": "'team in (ci,)' lists an empty value",
    "team in (ci sandbox)": "'ci sandbox' is not the value of a label",
    "team not in (ci)": "'team not in (ci)' is none of",
    "team===ci": "'team===ci' is none of",
    "team>1": "'team>1' is none of",
    "!team=ci": "'!team=ci' is none of",
    "!": "'!' is none of",
    "=ci": "'=ci' is none of",
    "team=ci sandbox": "'team=ci sandbox' is none of",
    "team=-ci": "'-ci' is not the value of a label",
    "team=a/b": "'a/b' is not the value of a label",
    "-team": "'-team' is not the key of a label",
    "a/b/c": "'a/b/c' is not the key of a label",
    "/team": "'/team' is not the key of a label",
    "Example.com/team": "'Example.com/team' is not the key of a label",
    "team\n": "is not the key of a label",
    "té": "'té' is not the key of a label",
    "$(POD_NAME)": "is none of",
    f"{_LONGEST_NAME}n": "is not the key of a label",
    f"team={_LONGEST_NAME}n": "is not the value of a label",
}
"""And what is said of them."""
