"""A store and a tree on a disk of 1 MiB, which is this process's own and goes with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import trees

from constellation.program.errors import StoreError
from constellation.program.store import Store
from constellation.program.tree import lay_out

disk = sys.argv[1]
mounted = subprocess.run(
    ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", disk], check=False
)
if mounted.returncode:
    sys.exit(
        "no disk of its own could be mounted for this test, which needs Linux and root, or "
        "user namespaces: run it as root, or `sysctl kernel.unprivileged_userns_clone=1`"
    )


def files(directory: str) -> list[str]:
    return [name for _, _, names in os.walk(directory) for name in names]


store = Store(os.path.join(disk, "store"))
small, large = trees.file("small", b"s" * 1000), trees.file("large", bytes(2 << 20))
with store.write(small) as writer:
    writer.write(b"s" * 1000)
    writer.commit()
before = sorted(files(disk))

writer = store.write(large)
try:
    for _ in range(32):
        writer.write(bytes(64 << 10))
except StoreError as error:
    assert error.path == os.path.join(disk, "store", "incoming"), error.path
    assert "No space left on device: nothing of it was kept; make room there" in str(error), error
else:
    sys.exit("2 MiB were written to a disk of 1 MiB")
assert sorted(files(disk)) == before, files(disk)
assert store.has(small)
assert not store.has(large)

# There is room again at once.
fits = trees.file("fits", bytes(600 << 10))
with store.write(fits) as writer:
    writer.write(bytes(600 << 10))
    writer.commit()
assert store.has(fits)

# The same for the copy that a program runs in.
program = trees.manifest(large, trees.file("pkg/deep/small", b"s" * 1000))
elsewhere = Store(disk + ".store")
for file, content in {
    large: bytes(2 << 20),
    small: b"s" * 1000,
    program.files[2]: b"print()",
}.items():
    with elsewhere.write(file) as writer:
        writer.write(content)
        writer.commit()
before = sorted(files(disk))
try:
    lay_out(program, elsewhere, disk)
except StoreError as error:
    assert re.fullmatch(re.escape(disk) + "/tree-[0-9a-f]+/large", error.path), error.path
    assert "No space left on device" in str(error), error
else:
    sys.exit("2 MiB were laid out on a disk of 1 MiB")
assert sorted(files(disk)) == before, files(disk)
assert os.listdir(disk) == ["store"]
print("as it should be")
