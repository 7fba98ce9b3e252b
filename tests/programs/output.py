# case: {"out": {"size": 10000000, "sha256": "f98c8253d7a502118d0f65dc06ef52d5685eeded2e6572129385350f52eb1eaf"}, "err": {"size": 1000000, "sha256": "ec21d64624228af3ecd4bdaa8239e32ed943b01e26934cd5610fddb361426dc6"}, "args": ["return"], "exit": 0}
# case: {"out": {"size": 10000000, "sha256": "f98c8253d7a502118d0f65dc06ef52d5685eeded2e6572129385350f52eb1eaf"}, "err": {"size": 1000000, "sha256": "ec21d64624228af3ecd4bdaa8239e32ed943b01e26934cd5610fddb361426dc6"}, "args": ["exit"], "exit": 3, "code": 3}
# case: {"out": {"size": 10000000, "sha256": "f98c8253d7a502118d0f65dc06ef52d5685eeded2e6572129385350f52eb1eaf"}, "err": {"size": 1000000, "sha256": "ec21d64624228af3ecd4bdaa8239e32ed943b01e26934cd5610fddb361426dc6"}, "args": ["os._exit"], "exit": 3, "code": 3}
# case: {"out": {"size": 10000000, "sha256": "f98c8253d7a502118d0f65dc06ef52d5685eeded2e6572129385350f52eb1eaf"}, "err": {"size": 1000000, "sha256": "ec21d64624228af3ecd4bdaa8239e32ed943b01e26934cd5610fddb361426dc6"}, "args": ["kill"], "exit": "SIGKILL", "code": 137}
import os
import signal
import sys

from constellation import init

init()
sys.stdout.buffer.write(bytes(range(256)) * 39062 + bytes(128))
sys.stderr.buffer.write(b"0123456789" * 100_000)
sys.stdout.flush()
sys.stderr.flush()
if sys.argv[1] == "exit":
    sys.exit(3)
elif sys.argv[1] == "os._exit":
    os._exit(3)
elif sys.argv[1] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
