//go:build tools

package contour

import _ "github.com/projectcontour/contour/cmd/contour"
