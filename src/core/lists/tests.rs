//! Tests of the lists: when they are read, and who is told what.

use super::*;
