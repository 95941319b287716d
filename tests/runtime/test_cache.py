import os
import random

import numpy as np
import pytest

import tensorlang as tl
from tensorlang import config
from tensorlang.backend import llvm
from tensorlang.runtime import cache


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORLANG_CACHE", str(tmp_path / "deep" / "cache"))
    return tmp_path / "deep" / "cache"


def entries(folder):
    return sorted(folder.iterdir()) if folder.exists() else []


def contents(name):
    return name.encode() * 100


def test_what_is_put_is_got(folder):
    name = cache.key(["a"])
    assert cache.get(name) is None
    cache.put(name, b"code")
    assert cache.get(name) == b"code"
    assert cache.get(cache.key(["b"])) is None
    assert folder.stat().st_mode & 0o777 == 0o700


def test_keys_depend_on_where_parts_end():
    assert cache.key(["ab", "c"]) != cache.key(["a", "bc"]) != cache.key(["a", "b", "c"])


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d[:10], lambda d: b"", lambda d: d[:-1] + b"x"])
def test_a_damaged_entry_is_as_good_as_none(folder, damage):
    name = cache.key(["a"])
    cache.put(name, b"code")
    (file,) = entries(folder)
    file.write_bytes(damage(file.read_bytes()))
    assert cache.get(name) is None
    assert entries(folder) == []
    cache.put(name, b"code")
    assert cache.get(name) == b"code"


def test_what_was_not_used_for_longest_goes_first(folder):
    names = [cache.key([str(n)]) for n in range(10)]
    for age, name in enumerate(names):
        cache.put(name, b"x" * 1000)
        (file,) = folder.glob(f"{name}*")
        os.utime(file, (1000 + age, 1000 + age))
    assert cache.get(names[0]) is not None  # used just now
    cache.trim(folder, 100_000)
    assert len(entries(folder)) == 10
    cache.trim(folder, 6000)
    assert [n for n in range(10) if cache.get(names[n]) is not None] == [0, 7, 8, 9]


def test_the_folder_stays_within_its_limit(folder, monkeypatch):
    monkeypatch.setenv("TENSORLANG_CACHE_MB", "1")
    for n in range(300):
        cache.put(cache.key([str(n)]), bytes(20_000))
    assert sum(f.stat().st_size for f in entries(folder)) < 4e6


def test_several_processes_at_once(folder, monkeypatch):
    """They write, read, damage and trim; what is got is right or nothing."""
    monkeypatch.setenv("TENSORLANG_CACHE_MB", "1")
    children = []
    for seed in range(4):
        children.append(os.fork())
        if children[-1] == 0:
            rng = random.Random(seed)
            bad = 0
            for _ in range(300):
                name = cache.key([str(rng.randrange(20))])
                bad += cache.get(name) not in (None, contents(name))
                cache.put(name, contents(name))
                if rng.random() < 0.1:
                    cache.trim(folder, 50_000)
            os._exit(min(bad, 100))
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4


def test_the_off_switch(folder, monkeypatch):
    monkeypatch.setenv("TENSORLANG_CACHE", "off")
    cache.put(cache.key(["a"]), b"code")
    assert cache.get(cache.key(["a"])) is None
    assert entries(folder) == []


def test_where_it_is_by_default(monkeypatch):
    monkeypatch.delenv("TENSORLANG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert str(config.cache_dir()) == "/x/tensorlang"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert str(config.cache_dir()) == "/home/me/.cache/tensorlang"


def test_a_folder_that_others_can_write_to_is_not_trusted(folder):
    name = cache.key(["a"])
    cache.put(name, b"code")
    folder.chmod(0o777)
    assert cache.get(name) is None
    cache.put(name, b"other")
    folder.chmod(0o700)
    assert cache.get(name) == b"code"


def test_a_disk_that_takes_nothing_is_no_error(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache.put(cache.key(["a"]), b"code")
    assert cache.get(cache.key(["a"])) is None
    assert entries(folder) == []
    monkeypatch.setenv("TENSORLANG_CACHE", "/dev/null/folder")
    cache.put(cache.key(["a"]), b"code")


def program(constant):
    x = tl.placeholder((8,), "float32", name="x")
    return tl.compute((8,), lambda i: x[i] + constant, name="y")


def test_kernels_come_from_the_cache(folder, monkeypatch):
    x = np.arange(8, dtype=np.float32)
    first = tl.build(program(1.0))
    assert len(entries(folder)) == 1
    tl.build(program(2.0))
    assert len(entries(folder)) == 2
    monkeypatch.setattr(llvm, "_module", lambda *_: pytest.fail("compiled again"))
    again = tl.build(program(1.0))
    np.testing.assert_array_equal(first(x), x + 1)
    np.testing.assert_array_equal(again(x), x + 1)
    monkeypatch.undo()
    assert "y" in again.asm()


def test_a_damaged_kernel_is_compiled_again(folder):
    x = np.arange(8, dtype=np.float32)
    tl.build(program(3.0))
    (file,) = entries(folder)
    file.write_bytes(file.read_bytes()[:-100] + bytes(100))
    np.testing.assert_array_equal(tl.build(program(3.0))(x), x + 3)
