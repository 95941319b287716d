"""erf on float32 and float64.

Up to |x| = 1, erf(x) = x + x * p(x**2), a series that converges everywhere. Beyond, erf(x) = 1 - exp(-q(|x| - 1)) with
q(s) = -log(erfc(1 + s)), which is smooth and near (1 + s)**2; errors of q shrink with the exponential. Both
polynomials are interpolations at Chebyshev nodes, made by tests/tools/fit_math.py.
"""

from __future__ import annotations

from tensorlang.ir.math_exp import exp_of_moderate
from tensorlang.ir.math_tools import at_most, fma, polynomial, select, size, with_sign
from tensorlang.ir.nodes import Expr

# erf(x) / x - 1 as a polynomial in x**2, |x| <= 1
ERF = {
    "float32": (
        *(0.1283791658, -0.3761262667, 0.1128359472, -0.02685421201, 0.005189087423, -0.0008016864287),
        7.875875063e-05,
    ),
    "float64": (
        *(0.1283791670955126, -0.37612638903183754, 0.1128379167095512, -0.02686617064512984),
        *(0.0052239776254232985, -0.000854832702193483, 0.00012055332902888736, -1.4925647567519332e-05),
        *(1.6462045441468418e-06, -1.6364642158167616e-07, 1.4792401209404813e-08, -1.216456005728345e-09),
        *(8.709045129053106e-11, -4.230945824295338e-12),
    ),
}
# -log(erfc(1 + s)), 0 <= s <= 3, and <= 5
LOG_ERFC = (
    *(1.849605502, 2.638968075, 0.8431008491, 0.04159045722, -0.01010486032, 0.002081732083, -0.0003363859259),
    *(3.845464203e-05, -2.639243213e-06, 7.58268197e-08),
)
LOG_ERFC_FAR = (
    *(1.8496055099332482, 2.638967514234792, 0.8431072563584461, 0.04156109804734808, -0.01003382544352357),
    *(0.001977903085041993, -0.0002373250077257026, -2.6269360070220478e-05, 2.7138550745376167e-05),
    *(-9.57239072751541e-06, 2.0112495830910767e-06, -9.407171018736897e-08, -1.3487804156178586e-07),
    *(7.371418489327166e-08, -2.4358469339897635e-08, 5.86443950438712e-09, -1.008775428343677e-09),
    *(9.280039575756637e-11, 1.0314936818968728e-11, -6.675534952240956e-12, 1.6613127426417633e-12),
    *(-2.8154390119056217e-13, 3.5425881823840503e-14, -3.3491060950623e-15, 2.329273769858004e-16),
    *(-1.1301880860003152e-17, 3.426185462059797e-19, -4.892850883552152e-21),
)
_MOST = {"float32": 4.0, "float64": 6.0}  # erf is 1 from here on


def erf(x: Expr) -> Expr:
    beyond = at_most(size(x), _MOST[x.dtype]) - 1.0
    far = 1.0 - exp_of_moderate(-polynomial(beyond, LOG_ERFC if x.dtype == "float32" else LOG_ERFC_FAR))
    return select(size(x) < 1.0, fma(x, polynomial(x * x, ERF[x.dtype]), x), with_sign(far, x))
