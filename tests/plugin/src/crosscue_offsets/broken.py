"""A method whose import fails."""

import no_such_package

Shattered = no_such_package.Shattered
