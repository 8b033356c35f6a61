module walser/tests/clients/stand

go 1.26.0
