"""`python -m farm`."""

from farm._cli import farm

if __name__ == "__main__":
    farm(prog_name="python -m farm")
