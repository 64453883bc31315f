"The combinators that plans are made of: typed, costed before they run, and run."
from .combinators import *
from .composition import *
