mod frame; mod report; fn main() {}
