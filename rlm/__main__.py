"`python -m rlm` is the same as the command `rlm`."
import sys

from .cli import main

sys.exit(main())
