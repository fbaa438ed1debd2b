//! Compares two function types in step and names the first part that differs.

use std::fmt::Write as _;
use wasmparser::PrimitiveValType;
use wasmparser::component_types::{
    ComponentDefinedType, ComponentDefinedTypeId, ComponentFuncTypeId, ComponentValType,
};
use wasmparser::types::Types;

/// Bytes of a list of names in a message.
const NAMES_BYTES_MAX: usize = 160;

/// The first part of a function's type that differs.
#[derive(Debug)]
pub(super) struct Difference {
    /// The function and the path to the part.
    pub place: String,
    /// The contract's side.
    pub expected: String,
    /// The component's side.
    pub found: String,
}

/// The two sets of types that are compared.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub expected: &'a Types,
    pub found: &'a Types,
}

/// Boxed: the error is wide and the success is nothing.
type Same = Result<(), Box<Difference>>;

/// A value type with aliases of primitives seen through.
#[derive(Clone, Copy)]
enum Shape<'a> {
    Primitive(PrimitiveValType),
    Defined(&'a ComponentDefinedType),
    /// No value: the absent side of a result or the empty case of a variant.
    Nothing,
}

impl<'a> Pair<'a> {
    /// Whether two functions have one type. The walk follows the contract's side, so that its depth and
    /// time are bounded whatever the other side is.
    pub fn functions(self, name: &str, expected: ComponentFuncTypeId, found: ComponentFuncTypeId) -> Same {
        let (expected, found) = (&self.expected[expected], &self.found[found]);
        if found.async_ != expected.async_ {
            return differ(name, "a synchronous function".into(), "an asynchronous one".into());
        }
        let named = |params: &[(wasmparser::names::KebabString, ComponentValType)]| {
            list("parameters", params.iter().map(|(name, _)| name.as_str()))
        };
        let same_names = expected.params.len() == found.params.len()
            && expected.params.iter().zip(&found.params).all(|((a, _), (b, _))| a == b);
        if !same_names {
            return differ(name, named(&expected.params), named(&found.params));
        }
        for ((param, a), (_, b)) in expected.params.iter().zip(&found.params) {
            self.values(&format!("{name}({param})"), Some(*a), Some(*b))?;
        }
        self.values(&format!("the result of {name}"), expected.result, found.result)
    }

    fn values(
        self,
        place: &str,
        expected: Option<ComponentValType>,
        found: Option<ComponentValType>,
    ) -> Same {
        use ComponentDefinedType as T;
        let (a, b) = (shape(self.expected, expected), shape(self.found, found));
        match (a, b) {
            (Shape::Nothing, Shape::Nothing) => Ok(()),
            (Shape::Primitive(x), Shape::Primitive(y)) if x == y => Ok(()),
            (Shape::Defined(T::Record(x)), Shape::Defined(T::Record(y)))
                if x.fields.keys().eq(y.fields.keys()) =>
            {
                let mut fields = x.fields.iter().zip(y.fields.values());
                fields.try_for_each(|((field, x), y)| {
                    self.values(&format!("{place}.{field}"), Some(*x), Some(*y))
                })
            }
            (Shape::Defined(T::Variant(x)), Shape::Defined(T::Variant(y)))
                if x.cases.keys().eq(y.cases.keys()) =>
            {
                let mut cases = x.cases.iter().zip(y.cases.values());
                cases.try_for_each(|((case, x), y)| self.values(&format!("{place}.{case}"), x.ty, y.ty))
            }
            (Shape::Defined(T::Tuple(x)), Shape::Defined(T::Tuple(y))) if x.types.len() == y.types.len() => {
                let mut parts = x.types.iter().zip(&y.types).enumerate();
                parts.try_for_each(|(index, (x, y))| {
                    self.values(&format!("{place}.{index}"), Some(*x), Some(*y))
                })
            }
            (Shape::Defined(T::List { element: x, .. }), Shape::Defined(T::List { element: y, .. })) => {
                self.values(&format!("{place}[]"), Some(*x), Some(*y))
            }
            (Shape::Defined(T::Option { ty: x, .. }), Shape::Defined(T::Option { ty: y, .. })) => {
                self.values(&format!("{place}?"), Some(*x), Some(*y))
            }
            (
                Shape::Defined(T::Result { ok: ok_x, err: err_x, .. }),
                Shape::Defined(T::Result { ok: ok_y, err: err_y, .. }),
            ) => {
                self.values(&format!("{place}, ok"), *ok_x, *ok_y)?;
                self.values(&format!("{place}, error"), *err_x, *err_y)
            }
            (Shape::Defined(T::Flags(x)), Shape::Defined(T::Flags(y))) if x.iter().eq(y.iter()) => Ok(()),
            (Shape::Defined(T::Enum(x)), Shape::Defined(T::Enum(y))) if x.iter().eq(y.iter()) => Ok(()),
            _ => differ(place, describe(a), describe(b)),
        }
    }
}

fn differ(place: &str, expected: String, found: String) -> Same {
    Err(Box::new(Difference { place: place.to_owned(), expected, found }))
}

fn shape(types: &Types, value: Option<ComponentValType>) -> Shape<'_> {
    let defined = |id: ComponentDefinedTypeId| match &types[id] {
        ComponentDefinedType::Primitive(primitive) => Shape::Primitive(*primitive),
        other => Shape::Defined(other),
    };
    match value {
        None => Shape::Nothing,
        Some(ComponentValType::Primitive(primitive)) => Shape::Primitive(primitive),
        Some(ComponentValType::Type(id)) => defined(id),
    }
}

/// One level of a type in words.
fn describe(shape: Shape<'_>) -> String {
    use ComponentDefinedType as T;
    match shape {
        Shape::Nothing => "nothing".into(),
        Shape::Primitive(primitive) => primitive.to_string(),
        Shape::Defined(T::Record(record)) => {
            list("a record of", record.fields.keys().map(|name| name.as_str()))
        }
        Shape::Defined(T::Variant(variant)) => {
            list("a variant of", variant.cases.keys().map(|name| name.as_str()))
        }
        Shape::Defined(T::Flags(flags)) => list("flags", flags.iter().map(|name| name.as_str())),
        Shape::Defined(T::Enum(cases)) => list("an enum of", cases.iter().map(|name| name.as_str())),
        Shape::Defined(T::Tuple(tuple)) => format!("a tuple of {}", tuple.types.len()),
        Shape::Defined(T::List { .. }) => "a list".into(),
        Shape::Defined(T::Option { .. }) => "an option".into(),
        Shape::Defined(T::Result { .. }) => "a result".into(),
        Shape::Defined(T::Own(_) | T::Borrow(_)) => "a resource".into(),
        Shape::Defined(_) => "a type that the contract does not use".into(),
    }
}

/// Names, cut at a bound. They are kebab-case by validation and so need no escaping.
fn list<'n>(what: &str, names: impl ExactSizeIterator<Item = &'n str>) -> String {
    let count = names.len();
    let mut out = format!("{what} {count} (");
    for (position, name) in names.enumerate() {
        if out.len() + name.len() > NAMES_BYTES_MAX {
            out.push_str(", …");
            break;
        }
        // Writing to a string cannot fail.
        let _ = write!(out, "{}{name}", if position == 0 { "" } else { ", " });
    }
    out.push(')');
    out
}
