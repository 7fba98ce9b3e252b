# case: {"out": "Hello, world!\n", "exit": 0}
import constellation

constellation.init()
print("Hello, world!")
