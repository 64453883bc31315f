-- nbdev makes a link of every name of ours that it finds between backticks, also in the signatures that it shows, where a link is not one: there the name is put back.
function CodeBlock(block)
  block.text = block.text:gsub('%[(`[^`\n]+`)%]%(https?://[^)%s]+%)', '%1')
  return block
end
