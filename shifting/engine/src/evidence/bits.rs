//! Serialises floats by their bits, so that a stored state is equal to the bit in any format.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) fn serialize<S: Serializer>(values: &[f64], to: S) -> Result<S::Ok, S::Error> {
    let bits: Vec<u64> = values.iter().map(|value| value.to_bits()).collect();
    bits.serialize(to)
}

pub(crate) fn deserialize<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromIterator<f64>,
{
    let bits = Vec::<u64>::deserialize(from)?;
    Ok(bits.into_iter().map(f64::from_bits).collect())
}
