//! One column, a batch at a time.

use super::value::Value;
use crate::market::stamp::StampUnit;
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType, FixedLenByteArray, Int96};
use parquet::errors::{ParquetError, Result};
use parquet::schema::types::ColumnDescriptor;

/// What the numbers of a column mean.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    /// Whole, or with this many decimals.
    Number {
        scale: i32,
        signed: bool,
    },
    Moment(StampUnit),
    Day,
    Text,
}

/// A column that is read.
pub(super) struct Column {
    index: usize,
    cell: usize,
    meaning: Meaning,
    optional: bool,
    reader: Option<ColumnReader>,
    values: Values,
    /// For each row of the batch, where its value is; [`ABSENT`] for none. Empty when every row has one.
    places: Vec<u32>,
    levels: Vec<i16>,
}

const ABSENT: u32 = u32::MAX;

/// Most decimals that a decimal of sixteen bytes can have.
const SCALE_MAX: i32 = 38;

/// The values of a batch that are there.
enum Values {
    I32(Vec<i32>),
    I64(Vec<i64>),
    I96(Vec<Int96>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bytes(Vec<ByteArray>),
    Fixed(Vec<FixedLenByteArray>),
}

impl Column {
    /// The column of this number, for this cell of a row.
    ///
    /// # Errors
    /// When what it holds is no number, text or moment.
    pub fn new(index: usize, cell: usize, kind: &ColumnDescriptor) -> std::result::Result<Self, String> {
        let values = match kind.physical_type() {
            Physical::INT32 => Some(Values::I32(Vec::new())),
            Physical::INT64 => Some(Values::I64(Vec::new())),
            Physical::INT96 => Some(Values::I96(Vec::new())),
            Physical::FLOAT => Some(Values::F32(Vec::new())),
            Physical::DOUBLE => Some(Values::F64(Vec::new())),
            Physical::BYTE_ARRAY => Some(Values::Bytes(Vec::new())),
            Physical::FIXED_LEN_BYTE_ARRAY => Some(Values::Fixed(Vec::new())),
            Physical::BOOLEAN => None,
        };
        let (Some(values), Some(meaning)) = (values, meaning(kind)) else {
            return Err(format!(
                "the column \"{}\" holds {:?} of {}, expected numbers, decimals, text, dates or timestamps",
                kind.name(),
                kind.converted_type(),
                kind.physical_type()
            ));
        };
        let optional = kind.max_def_level() > 0;
        Ok(Self {
            index,
            cell,
            meaning,
            optional,
            reader: None,
            values,
            places: Vec::new(),
            levels: Vec::new(),
        })
    }

    pub fn index(&self) -> usize {
        self.index
    }

    pub fn cell(&self) -> usize {
        self.cell
    }

    /// Goes on with the same column of another row group.
    pub fn begin(&mut self, reader: ColumnReader) -> Result<()> {
        self.reader = Some(reader);
        Ok(())
    }

    /// Reads some rows; says how many there were.
    pub fn fill(&mut self, rows: usize) -> Result<usize> {
        let reader =
            self.reader.as_mut().ok_or_else(|| ParquetError::General("no row group is open".into()))?;
        let levels = self.optional.then_some(&mut self.levels);
        let found = match (reader, &mut self.values) {
            (ColumnReader::Int32ColumnReader(reader), Values::I32(into)) => read(reader, rows, levels, into),
            (ColumnReader::Int64ColumnReader(reader), Values::I64(into)) => read(reader, rows, levels, into),
            (ColumnReader::Int96ColumnReader(reader), Values::I96(into)) => read(reader, rows, levels, into),
            (ColumnReader::FloatColumnReader(reader), Values::F32(into)) => read(reader, rows, levels, into),
            (ColumnReader::DoubleColumnReader(reader), Values::F64(into)) => read(reader, rows, levels, into),
            (ColumnReader::ByteArrayColumnReader(reader), Values::Bytes(into)) => {
                read(reader, rows, levels, into)
            }
            (ColumnReader::FixedLenByteArrayColumnReader(reader), Values::Fixed(into)) => {
                read(reader, rows, levels, into)
            }
            _ => return Err(ParquetError::General("two row groups have two types of one column".into())),
        }?;
        self.places.clear();
        if self.optional && self.levels.contains(&0) {
            let mut next = 0;
            self.places.extend(self.levels.iter().map(|level| {
                let place = if *level == 0 { ABSENT } else { next };
                next += u32::from(*level != 0);
                place
            }));
        }
        Ok(found)
    }

    /// The value in a row of the batch.
    #[inline]
    pub fn value(&self, row: usize) -> Value<'_> {
        let place = match self.places.get(row) {
            Some(&ABSENT) => return Value::Null,
            Some(place) => *place as usize,
            None => row,
        };
        let found = match &self.values {
            Values::I32(values) => {
                values.get(place).map(|value| self.whole(i64::from(*value), i64::from(*value as u32)))
            }
            Values::I64(values) => values.get(place).map(|value| self.whole(*value, *value)),
            Values::I96(values) => {
                values.get(place).map(|value| Value::Moment(value.to_nanos(), StampUnit::Nanos))
            }
            Values::F32(values) => values.get(place).map(|value| Value::Single(*value)),
            Values::F64(values) => values.get(place).map(|value| Value::Double(*value)),
            Values::Bytes(values) => values.get(place).map(|value| self.bytes(value.data())),
            Values::Fixed(values) => values.get(place).map(|value| self.bytes(value.data())),
        };
        found.unwrap_or(Value::Null)
    }

    /// A whole number; `unsigned` is what its bits are without a sign, where 32 bits hold it.
    #[inline]
    fn whole(&self, number: i64, unsigned: i64) -> Value<'_> {
        match self.meaning {
            Meaning::Number { scale, signed: true } => Value::Decimal { digits: number, scale },
            // Above 2^63 there is no price, no quantity and no moment; such a number is below zero here, and refused.
            Meaning::Number { scale, signed: false } => Value::Decimal { digits: unsigned, scale },
            Meaning::Moment(unit) => Value::Moment(number, unit),
            Meaning::Day => i32::try_from(number).map_or(Value::Null, Value::Day),
            Meaning::Text => Value::Null,
        }
    }

    /// Text, or the big-endian two's complement of a decimal.
    #[inline]
    fn bytes<'a>(&self, bytes: &'a [u8]) -> Value<'a> {
        match self.meaning {
            Meaning::Number { scale, .. } => match bytes.len() {
                1..=16 => Value::Wide { digits: bytes, scale },
                _ => Value::Text(b"a decimal of more than 16 bytes"),
            },
            _ => Value::Text(bytes.trim_ascii()),
        }
    }
}

fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    mut levels: Option<&mut Vec<i16>>,
    into: &mut Vec<T::T>,
) -> Result<usize> {
    into.clear();
    if let Some(levels) = &mut levels {
        levels.clear();
    }
    reader.read_records(rows, levels, None, into).map(|(records, _, _)| records)
}

/// A decimal. The format bounds its scale by its precision, and that of bytes of any length by nothing.
fn decimal(kind: &ColumnDescriptor) -> Option<Meaning> {
    let scale = kind.type_scale();
    (0..=SCALE_MAX).contains(&scale).then_some(Meaning::Number { scale, signed: true })
}

/// `None` for what is no number, text or moment.
fn meaning(kind: &ColumnDescriptor) -> Option<Meaning> {
    let whole = |signed| Meaning::Number { scale: 0, signed };
    let of_unit = |unit: &TimeUnit| {
        Meaning::Moment(match unit {
            TimeUnit::MILLIS => StampUnit::Millis,
            TimeUnit::MICROS => StampUnit::Micros,
            TimeUnit::NANOS => StampUnit::Nanos,
        })
    };
    match kind.logical_type_ref() {
        Some(LogicalType::Decimal(_)) => return decimal(kind),
        Some(LogicalType::Timestamp(stamp)) => return Some(of_unit(&stamp.unit)),
        Some(LogicalType::Date) => return Some(Meaning::Day),
        Some(LogicalType::Integer(int)) => return Some(whole(int.is_signed)),
        Some(LogicalType::String | LogicalType::Enum) => return Some(Meaning::Text),
        Some(_) => return None,
        None => {}
    }
    match (kind.converted_type(), kind.physical_type()) {
        (ConvertedType::DECIMAL, _) => decimal(kind),
        (ConvertedType::TIMESTAMP_MILLIS, _) => Some(of_unit(&TimeUnit::MILLIS)),
        (ConvertedType::TIMESTAMP_MICROS, _) => Some(of_unit(&TimeUnit::MICROS)),
        (ConvertedType::DATE, _) => Some(Meaning::Day),
        (
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64,
            _,
        ) => Some(whole(false)),
        (ConvertedType::NONE, Physical::FIXED_LEN_BYTE_ARRAY) => None,
        (ConvertedType::NONE | ConvertedType::UTF8 | ConvertedType::ENUM, Physical::BYTE_ARRAY) => {
            Some(Meaning::Text)
        }
        (
            ConvertedType::NONE
            | ConvertedType::INT_8
            | ConvertedType::INT_16
            | ConvertedType::INT_32
            | ConvertedType::INT_64,
            _,
        ) => Some(whole(true)),
        _ => None,
    }
}
