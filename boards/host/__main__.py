import sys

from boards.host.command import main

if __name__ == "__main__":
    sys.exit(main())
