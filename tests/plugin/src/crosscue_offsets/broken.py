"""A method and a reader whose import fails."""

import no_such_package

Shattered, BLURRED = no_such_package.Shattered, no_such_package.BLURRED
