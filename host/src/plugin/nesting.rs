//! How deep loops lie within each other, which costs the compiler the square of it in time and memory.

use wasmparser::{BinaryReaderError, FunctionBody, Operator};

/// The most loops that lie within each other in a function. What is not valid is the validator's to refuse.
pub(super) fn loops(body: &FunctionBody<'_>) -> Result<u64, BinaryReaderError> {
    // Whether each block that is open is a loop. One bit more for each byte of the body at most.
    let mut open = Vec::new();
    let (mut depth, mut deepest) = (0_u64, 0);
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::Loop { .. } => {
                open.push(true);
                depth += 1;
                deepest = deepest.max(depth);
            }
            Operator::Block { .. } | Operator::If { .. } => open.push(false),
            Operator::End => depth -= u64::from(open.pop().unwrap_or(false)),
            _ => {}
        }
    }
    Ok(deepest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmparser::{Parser, Payload};

    fn deepest(function: &str) -> u64 {
        let bytes = wat::parse_str(format!("(module (func {function}))")).unwrap();
        let bodies = Parser::new(0).parse_all(&bytes).filter_map(|payload| match payload.unwrap() {
            Payload::CodeSectionEntry(body) => Some(loops(&body).unwrap()),
            _ => None,
        });
        bodies.sum()
    }

    #[test]
    fn loops_within_loops_count_and_those_beside_each_other_do_not() {
        assert_eq!(deepest(""), 0);
        assert_eq!(deepest("loop end loop end block block end end"), 1);
        assert_eq!(
            deepest("loop block i32.const 0 if loop end else loop loop end end end end end loop end"),
            3
        );
    }
}
