module mllpload

go 1.19
