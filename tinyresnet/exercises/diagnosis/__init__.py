"""What did a wrong answer do? From a library of mistakes, by fitting terms, by trying transformations, and by looking where it is wrong."""
