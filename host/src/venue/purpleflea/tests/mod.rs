//! The client against a scripted server, and the decision about evidence against everything an account can show.

mod evidence;
mod fuzz;
mod orders;
mod reads;
mod server;
