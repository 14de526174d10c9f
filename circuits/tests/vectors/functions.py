"""Writes functions.csv: values of the activation functions to 40 digits, computed by mpmath at 1400 bits.

Columns: function, argument (the shortest decimal of a double), value. Run: python3 functions.py > functions.csv
"""

import mpmath as m

m.mp.prec = 1400

ANY = [1e-300, 1e-10, 1e-4, 0.01, 0.1, 0.25, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.5]
SIGNED = ANY + [-x for x in ANY]
UNIT = [1e-300, 1e-10, 1e-4, 0.01, 0.1, 0.3, 0.5, 0.75, 0.9, 0.999, 0.9999999999999999]
UNIT = UNIT + [-x for x in UNIT]
LARGE = [10.0, 30.0, 40.5, 100.0, 700.0, 1000.0, 1e5, 1048576.0, 1e15, 1e22, 1e300]
# the double nearest to a multiple of π/2, relative to its distance
NEAR_PI = [1.5707963267948966, 3.141592653589793, 6.283185307179586, 5.319372648326541e255]
WIDE = [20.0, 39.5, 41.0, 300.0, 700.0, 709.5]

ARGUMENTS = {
    "Sigmoid": SIGNED + [20.0, -20.0, -40.0, -300.0, -699.0],
    "Tanh": SIGNED + [18.0, -18.0, 1e-9, 1.1e-9],
    "Exp": SIGNED + WIDE + [-x for x in WIDE] + [-720.0, -740.0],
    "Log": ANY + LARGE + [5e-324, 0.9999999999999999, 1.0000000000000002, 0.99, 1.01, 0.7071, 1.4142],
    "Sqrt": ANY + LARGE + [5e-324],
    "Reciprocal": SIGNED + LARGE,
    "Square": [x for x in SIGNED if abs(x) > 1e-100],
    "Erf": SIGNED + [4.0, 5.9, 6.1, -0.8, 0.05, 2.5],
    "Softplus": SIGNED + [39.9, 40.1, -39.9, -40.1, -300.0, -720.0, 700.0],
    "Sin": SIGNED + LARGE + NEAR_PI,
    "Cos": SIGNED + LARGE + NEAR_PI,
    "Tan": SIGNED + LARGE + NEAR_PI,
    "Asin": UNIT,
    "Acos": UNIT,
    "Atan": SIGNED + LARGE,
    "Sinh": SIGNED + WIDE + [710.0],
    "Cosh": SIGNED + WIDE + [710.0],
    "Asinh": SIGNED + LARGE,
    "Acosh": [1.0000000000000002, 1.0001, 1.1, 1.5, 2.0, 5.5] + LARGE,
    "Atanh": UNIT,
}
FUNCTIONS = {
    "Sigmoid": lambda x: 1 / (1 + m.exp(-x)),
    "Log": m.ln,
    "Reciprocal": lambda x: 1 / x,
    "Square": lambda x: x * x,
    "Softplus": lambda x: m.log1p(m.exp(x)),
}

for name, arguments in ARGUMENTS.items():
    function = FUNCTIONS.get(name) or getattr(m, name.lower())
    for x in arguments:
        print(f"{name},{x!r},{m.nstr(function(m.mpf(x)), 40)}")

POWERS = [
    (0.3, 2.0), (-0.3, 3.0), (-1.7, -5.0), (1.1, 400.0), (0.9, -511.0), (2.5, 0.5), (2.5, -0.5), (10.0, 0.1),
    (1.0000000000000002, 1e17), (0.9999999999999999, 1e17), (1e-310, 0.25), (3.0, 600.0), (3.0, -650.0), (123.456, 7.0),
    (7.0, 1.0 / 3.0), (0.5, 1e-300), (5e-324, -0.75), (1e300, 1.02), (-1.01, 1001.0), (-1.01, 1000.0), (1e-8, 39.5),
]
for x, y in POWERS:
    print(f"Pow,{x!r}^{y!r},{m.nstr(m.mpf(x) ** m.mpf(y), 40)}")
