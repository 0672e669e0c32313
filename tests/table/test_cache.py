"""An entry of the cache is whole or not there, whoever makes it; nothing else is ever removed."""

import os
from pathlib import Path

import pytest

from schuss.errors import OutputError
from schuss.table.cache import MANIFEST, cache_folder, clear, entries, new_entry

NAME, OTHER = "0123456789abcdef", "fedcba9876543210"


def make(cache: Path, name: str = NAME, content: str = "whole") -> None:
    with new_entry(cache / name) as folder:
        (folder / MANIFEST).write_text(content)


def test_the_folder_is_the_users_choice_or_the_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCHUSS_CACHE", "mine")
    monkeypatch.setenv("XDG_CACHE_HOME", "theirs")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == Path("mine")
    monkeypatch.delenv("SCHUSS_CACHE")
    assert cache_folder() == Path("theirs/schuss")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / ".cache/schuss"


def test_entries_come_with_size_and_age_the_oldest_first(tmp_path: Path) -> None:
    make(tmp_path)
    make(tmp_path, OTHER, "made earlier")
    made = (tmp_path / NAME / MANIFEST).stat().st_mtime
    os.utime(tmp_path / OTHER / MANIFEST, (made - 100, made - 100))
    found = entries(tmp_path)
    assert [(entry.folder.name, entry.bytes) for entry in found] == [(OTHER, 12), (NAME, 5)]
    assert found[0].seconds - found[1].seconds == pytest.approx(100, abs=1)


def test_a_cache_that_is_not_there_has_no_entries(tmp_path: Path) -> None:
    assert entries(tmp_path / "nowhere") == clear(tmp_path / "nowhere") == []
    assert os.listdir(tmp_path) == []


def test_an_entry_is_there_when_it_is_whole_and_not_before(tmp_path: Path) -> None:
    cache = tmp_path / "made" / "too"
    with new_entry(cache / NAME) as folder:
        (folder / MANIFEST).write_text("whole")
        assert entries(cache) == []
    assert len(entries(cache)) == 1


def test_after_an_error_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_entry(tmp_path / NAME):
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == [".lock"]


def test_of_two_that_make_the_same_entry_the_first_one_stays(tmp_path: Path) -> None:
    with new_entry(tmp_path / NAME) as folder:
        (folder / MANIFEST).write_text("second")
        make(tmp_path, content="first")
        assert folder.is_dir()  # is not taken for a leftover while it is made
    assert (tmp_path / NAME / MANIFEST).read_text() == "first"
    assert sorted(os.listdir(tmp_path)) == [".lock", NAME]


def test_leftovers_of_dead_processes_are_removed_by_the_next(tmp_path: Path) -> None:
    left, foreign = tmp_path / f".{NAME}.123-0011aabb.part", tmp_path / ".mine.part"
    left.mkdir()
    (left / "rows").write_text("half")
    foreign.mkdir()
    make(tmp_path, OTHER)
    assert sorted(os.listdir(tmp_path)) == [".lock", ".mine.part", OTHER]


def test_clear_removes_entries_and_nothing_else(tmp_path: Path) -> None:
    make(tmp_path)
    target = tmp_path / "elsewhere"
    make(target)
    (tmp_path / OTHER).symlink_to(target / NAME)
    for name in ("0123456789abcdee", "notes", "0123456789abcdefg"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "text").write_text("mine")
    (tmp_path / "notes" / MANIFEST).write_text("mine")
    before = set(os.listdir(tmp_path))
    assert [entry.folder.name for entry in clear(tmp_path)] == [NAME]
    assert set(os.listdir(tmp_path)) == before - {NAME}
    assert len(entries(target)) == 1


def test_fault_07_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=f"file/{NAME}: cannot be written"):
        make(tmp_path / "file")
