# case: {"out": "in main\n", "err": "to stderr\n", "exit": 0}
import sys

from constellation import init


def main():
    init()
    print("in main")
    print("to stderr", file=sys.stderr)


if __name__ == "__main__":
    main()
