//! Example strategy.
