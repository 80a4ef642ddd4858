package main

func Example() {
	main()
	// Output: b received: hello from a
}
