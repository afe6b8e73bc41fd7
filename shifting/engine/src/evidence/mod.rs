//! From sidecars' reports to what is known of each arm, and the tests on it.
