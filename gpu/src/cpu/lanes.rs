//! # Lanes: the fast adders of this machine, if it has any

use super::adder::Adder;
use crate::curve::{Curve, G1, G2};

/// A group with a fast adder.
pub(crate) trait LanesCurve: Curve {
    /// The adder.
    type Lanes: Adder<Self>;

    /// An adder, where the processor has the instructions.
    fn lanes() -> Option<Self::Lanes>;
}

#[cfg(target_arch = "x86_64")]
mod machine {
    use super::super::ifma::adder::{LanesG1, LanesG2};
    use super::{G1, G2, LanesCurve};

    impl LanesCurve for G1 {
        type Lanes = LanesG1;

        fn lanes() -> Option<LanesG1> {
            LanesG1::detect()
        }
    }

    impl LanesCurve for G2 {
        type Lanes = LanesG2;

        fn lanes() -> Option<LanesG2> {
            LanesG2::detect()
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod machine {
    use super::super::adder::Portable;
    use super::{G1, G2, LanesCurve};

    impl LanesCurve for G1 {
        type Lanes = Portable<G1>;

        fn lanes() -> Option<Portable<G1>> {
            None
        }
    }

    impl LanesCurve for G2 {
        type Lanes = Portable<G2>;

        fn lanes() -> Option<Portable<G2>> {
            None
        }
    }
}
