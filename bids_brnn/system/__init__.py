"""What lies between the program and the machine: files of strangers, memory, processes."""
