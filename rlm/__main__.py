"`python -m rlm` is the same as the command `rlm`."

import signal
import sys


def main() -> int:  # exit code
    "Run the command; Ctrl-C while it is imported ends it too."
    try:
        from .cli import main as command

        code = command()
    except KeyboardInterrupt:
        print('rlm: stopped.', file=sys.stderr)
        code = 3
    # A further Ctrl-C would interrupt only the end of the process, with a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


if __name__ == '__main__':
    sys.exit(main())
