# case: {"args": ["3"], "out": "", "exit": 3, "code": 3}
# case: {"args": ["0"], "out": "", "exit": 0, "code": 0}
# case: {"args": ["255"], "out": "", "exit": 255, "code": 255}
# case: {"args": ["words"], "out": "", "err": "words\n", "exit": 1, "code": 1, "fresh": true}
import sys

from constellation import init

init()
sys.exit(int(sys.argv[1]) if sys.argv[1].isdigit() else sys.argv[1])
