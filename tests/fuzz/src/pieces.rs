/// Splits bytes in up to four pieces, at places that the first three bytes name.
pub(crate) fn pieces(data: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let (places, rest) = data.split_at(data.len().min(3));
    let mut ends: Vec<_> = places.iter().map(|place| usize::from(*place) * (rest.len() + 1) / 256).collect();
    ends.sort_unstable();
    let (mut parts, mut from) = (Vec::new(), 0);
    for end in ends.into_iter().chain([rest.len()]) {
        parts.push(&rest[from..end]);
        from = end;
    }
    (rest, parts)
}
