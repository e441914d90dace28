"""What is quoted for Hydra and the shell arrives as it was."""

import shlex
import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from utils.advice import ROOT, command, in_hydra, in_shell, override

NASTY = "ab1 \\'\"$\\{}=,;:()[]#%&*!?|<>`~@^-+./\tü漢\n"
FOLDERS = [
    *(
        "a b",
        "a=b",
        "a,b",
        "it's",
        "a$b",
        "a${b}c",
        "ü/漢",
        "true",
        "null",
        "12",
        "1e3",
        "nan",
        "~",
        " a ",
        "",
        "'",
        '"',
    ),
    *("a\\", "a\\'", "\\${b}", "\\\\${b}", "[a]", "{a:1}", "f(x)", "a\nb", "/x/y-1.2", "glob(*)", "${now:%Y}", "a#b"),
]


def as_hydra_has_it(words: str) -> object:
    """The value of a key after a shell and Hydra have read ``words``."""
    [word] = shlex.split(words)
    [parsed] = OverridesParser.create().parse_overrides([word])
    config = OmegaConf.create({"key": None, "b": "wrong"})
    OmegaConf.update(config, "key", parsed.value())
    return OmegaConf.to_container(config)["key"] if not isinstance(config.key, str) else config.key


@pytest.mark.parametrize("text", FOLDERS)
def test_texts_arrive_as_they_are(text):
    assert as_hydra_has_it(override("key", text)) == text


@given(st.text(st.sampled_from(NASTY), max_size=12))
def test_any_text_arrives_as_it_is(text):
    assume(text != "???")  # a value that is missing, to OmegaConf: no quotes make it a text
    assert as_hydra_has_it(override("key", text)) == text


@pytest.mark.parametrize("value", [True, False, None, 3, 0.5, [1, 2], [], ["a b", "c"]])
def test_other_values_arrive_with_their_types(value):
    found = as_hydra_has_it(override("key", value))
    assert found == value and type(found) is type(value)


def test_plain_values_are_left_alone():
    assert override("resume", "exp_local/2026.01.01/120000_dreamer") == "resume=exp_local/2026.01.01/120000_dreamer"
    assert in_hydra("a b") == "'a b'" and in_shell("a b") == '"a b"'


def test_a_real_shell_agrees():
    words = [override("key", text) for text in FOLDERS]
    shell = subprocess.run(
        ["sh", "-c", f"printf '%s\\0' {' '.join(words)}"], capture_output=True, text=True, check=True
    )
    assert shell.stdout.split("\0")[:-1] == [shlex.split(word)[0] for word in words]


def test_a_command_is_found_from_the_folder_it_is_printed_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    python, script, word = shlex.split(command("doctor.py", override("resume", "a b")))
    assert script == str(ROOT / "doctor.py") and word == "resume='a b'"
    done = subprocess.run([python, script, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(ROOT)
    python, script = shlex.split(command("doctor.py"))
    assert script == "doctor.py" and subprocess.run([python, "-c", ""]).returncode == 0
